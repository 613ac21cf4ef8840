"""The names of the baselines that `eval.py --baseline` knows; importing them takes no time."""

UNSUPERVISED = ("itq", "lsh")
TOPICS = ("topics", "topics_itq")  # of documents
CLASSIFIERS = ("classifier", "graded")
BASELINES = (*UNSUPERVISED, *TOPICS, *CLASSIFIERS)
