"""Neural SHTTM on 20 Newsgroups, 32 bits, with all improvements but the non-linear decoder.

    python train.py --config configs/shttm_neural_newsgroups_32bit.py \\
      --workdir runs/shttm_neural_newsgroups_32bit --config.data.data_dir=DIR

Data: as for `shttm_newsgroups_32bit.py`. Machine: two CPU cores, a few minutes. Score:
docs/results.md, which says why the decoder is linear.
"""

from ml_collections import ConfigDict

from configs import shttm_neural


def get_config() -> ConfigDict:
    """The settings of `shttm_neural.py`, tuned on validation documents."""
    config = shttm_neural.get_config("20newsgroups", num_bits=32)
    config.data.query_share = 0.1  # the collection has no official test set
    config.unlabeled_batch_size = 0  # every message has its tag
    config.improvements.nonlinear_decoder = False
    config.encoder.hidden = 256
    config.encoder.word_dropout = 0.3
    config.encoder.dropout = 0.2
    config.loss.missing = 0.3
    config.loss.word_weight = 0.1
    config.exposure.alpha = 1000.0
    config.exposure.beta = 1.0
    config.correlation.weight = 0.1
    config.num_steps = 400
    config.optimizer.network.learning_rate = 0.005
    return config
