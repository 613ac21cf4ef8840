"""SHTTM on 20 Newsgroups, 32 bits.

    python train.py --config configs/shttm_newsgroups_32bit.py \\
      --workdir runs/shttm_newsgroups_32bit --config.data.data_dir=DIR

Data: DIR holds 20_newsgroups.tar.gz; a tenth of the messages, drawn by seed, are the queries, and a
message's group is its tag. Machine: any CPU, about a minute. Scores: docs/results.md. For the
published form see `shttm_published_newsgroups_32bit.py`.
"""

from ml_collections import ConfigDict

from configs import shttm


def get_config() -> ConfigDict:
    """The settings of `shttm.py`, with weights chosen on this collection."""
    config = shttm.get_config("20newsgroups", num_bits=32)
    config.data.query_share = 0.1  # the collection has no official test set
    config.codes.tag_ridge = 10.0
    config.codes.hash_ridge = 1.0
    return config
