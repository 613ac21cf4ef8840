"""Shared by the configs of SHTTM; every field has a comment.

The paper publishes neither weights nor preprocessing; they are ours. `tools/choose_documents.py`
chose the weights of a collection on validation documents; they are in that collection's config.
"""

from ml_collections import ConfigDict


def get_config(source: str, num_bits: int) -> ConfigDict:
    """SHTTM in closed form.

    Args:
      source: reuters21578 | 20newsgroups | jsonl | csv | parquet | text_files | vdsh.
      num_bits: code length, and number of topics.
    """
    config = documents(source, num_bits)
    config.method = "shttm"

    config.codes = ConfigDict()
    config.codes.present = 1.0  # a: confidence in a present tag
    config.codes.missing = 0.1  # b: confidence in a missing tag, below a
    config.codes.tag_ridge = 1.0  # C: weight of |U|^2
    config.codes.topic_weight = 0.01  # gamma: weight of |Y - theta|^2
    config.codes.iterations = 30  # at most
    config.codes.tolerance = 1e-4  # stops when the objective falls by a smaller share
    config.codes.dtype = "float32"  # float32 | float64
    config.codes.hash_ridge = 3.0  # lambda: of the hash function
    # Whether to apply an ITQ rotation; False: the paper.
    config.codes.rotation = True
    config.codes.rotation_iterations = 50
    # Rotation and thresholds are fitted to the learned codes ("codes": the paper) or to the outputs
    # of the hash function on the training documents ("function").
    config.codes.fitted_to = "function"
    config.codes.thresholds = "mean"  # of each bit; "median": the paper, balanced bits
    # Of training documents in the database: what the hash function gives them ("function"), as any
    # new document, or the codes that were learned for them ("learned").
    config.codes.database_codes = "function"
    # Learns how much each missing tag counts, as one that nobody may have thought of, in place of
    # codes.missing. False: the paper.
    config.codes.exposure = False
    # A missing tag is partly expected beside tags that it often comes with. False: the paper.
    config.codes.correlated_tags = False
    config.exposure = ConfigDict()
    config.exposure.precision = 1.0  # of tags; the lower, the less missing tags count
    # Of the prior of exposure: alpha - 1 documents more that are exposed to a tag, and beta - 1
    # that are not.
    config.exposure.alpha = 1.0
    config.exposure.beta = 1.0
    config.correlation = ConfigDict()
    config.correlation.weight = 0.5  # of what is expected
    config.correlation.smoothing = 5.0  # documents without a second tag, added to each tag's
    return config


def published(
    config: ConfigDict, *, missing: float, tag_ridge: float, topic_weight: float
) -> ConfigDict:
    """A config of the published form, with weights chosen for it.

    Args:
      config: from `get_config`.
      missing, tag_ridge, topic_weight: fields of `config.codes`.
    """
    config.codes.rotation = False
    config.codes.fitted_to = "codes"
    config.codes.thresholds = "median"
    config.codes.missing = missing
    config.codes.tag_ridge = tag_ridge
    config.codes.topic_weight = topic_weight
    return config


def documents(source: str, num_bits: int) -> ConfigDict:
    """The fields that all methods for documents share.

    Args:
      source, num_bits: as for `get_config`.
    """
    config = ConfigDict()
    config.seed = 0  # of all random numbers
    config.num_bits = num_bits  # code length
    config.num_devices = 0  # devices to split a batch over; 0 is all

    config.data = ConfigDict()
    config.data.source = source
    config.data.data_dir = ""  # the archive, its folder, or the file or folder of your own
    # Columns of CSV and Parquet files, and keys of JSONL; empty is the column of the name before
    # "_column", if there is one. Without ids, documents are named by their line or row.
    config.data.id_column = ""
    config.data.text_column = ""
    config.data.tags_column = ""  # a list of strings, or a string of tags
    config.data.test_column = ""  # true for the queries
    config.data.tag_separator = ";"  # between the tags of a string; empty is none: one tag
    config.data.max_characters = 1_000_000  # of a document of your own; 0 is no limit
    config.data.max_tags = 1000  # different tags of your own documents; 0 is no limit
    config.data.split_seed = 0  # of the split, so that runs with several seeds can share one
    config.data.split_file = ""  # a split.json of another run, to share its split
    config.data.query_share = 0.0  # of the tagged documents; 0 is the official test set
    # Share of the tagged training documents that is held back for choosing the best checkpoint.
    config.data.validation_share = 0.1
    config.data.max_words = 20_000  # size of the vocabulary: the most frequent words
    config.data.min_documents = 3  # a word must be in at least this many training documents
    config.data.max_share = 0.5  # and in at most this share of them
    config.data.stop_words = "english"  # left out; empty is none, else a file with one word a line
    # A regular expression: what a word is. This one: two letters or more, without digits.
    config.data.token_pattern = r"(?u)\b[^\W\d_]{2,}\b"
    config.data.analyser = "words"  # words | characters, which need no pattern and no stop words
    # Shortest and longest run of words or characters that is counted; 0 is 1, of characters 3 to 5.
    config.data.ngram_min = 0
    config.data.ngram_max = 0
    config.data.dry_run = False  # count and show the documents without training

    config.topics = ConfigDict()  # LDA, as many topics as bits
    config.topics.seed = 0
    config.topics.iterations = 5  # passes over the training documents
    config.topics.cache = "~/.cache/dsh_jax/topics"  # where topics are cached; empty is no cache

    # Functions of your own of (codes, labels), each "module:function", measured at every validation
    # and by eval.py; see docs/extending.md.
    config.metrics = ()
    config.encode_batch_size = 500  # documents per call, over all devices
    config.log_every_steps = 50  # steps between lines of metrics
    config.eval_every_steps = 100  # steps between validations and checkpoints
    config.keep_checkpoints = 2  # latest ones to keep, in addition to the best by validation mAP
    # Training saves and ends after so many minutes; the same command goes on. 0 is no limit.
    config.max_minutes = 0.0
    # Whether several processes, on one machine or many, train together (docs/hosts.md).
    config.distributed = False
    # Steps in one call of the devices, a divisor of log_every_steps and eval_every_steps. 0 is
    # automatic: at most 10 on GPU and TPU, 1 on a CPU.
    config.steps_per_call = 0
    # Traces ten steps of each stage into the workdir, and tells where their time goes.
    config.profile = False
    return config
