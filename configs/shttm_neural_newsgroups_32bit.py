"""Neural SHTTM on 20 Newsgroups, 32 bits, with all four improvements.

    python train.py --config configs/shttm_neural_newsgroups_32bit.py \\
      --workdir runs/shttm_neural_newsgroups_32bit --config.data.data_dir=DIR

Data: as for `shttm_newsgroups_32bit.py`. Machine: two CPU cores, a few minutes. Its settings are
not tuned for this version's losses, and it has no scores yet; see docs/results.md.
"""

from ml_collections import ConfigDict

from configs import shttm_neural


def get_config() -> ConfigDict:
    """The settings of `shttm_neural.py`, changed for one tag per message."""
    config = shttm_neural.get_config("20newsgroups", num_bits=32)
    config.data.query_share = 0.1  # the collection has no official test set
    config.unlabeled_batch_size = 0  # every message has its tag
    config.encoder.word_dropout = 0.5
    config.loss.missing = 0.3
    return config
