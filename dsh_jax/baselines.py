"""The names of the baselines that `eval.py --baseline` knows; importing them takes no time."""

UNSUPERVISED = ("itq", "lsh", "pca")
TOPICS = ("topics", "topics_itq")  # of documents
FLOATS = ("cosine",)  # the features themselves, without codes
UNTRAINED = (*UNSUPERVISED, *TOPICS, *FLOATS)
CLASSIFIERS = ("classifier", "graded")
FEATURES = ("features_itq",)  # of the trained network
OF_NETWORK = (*CLASSIFIERS, *FEATURES)  # other codes of a trained network
BASELINES = (*UNTRAINED, *OF_NETWORK)
