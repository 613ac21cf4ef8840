"""VDSH-S, the supervised form of VDSH, on 20 Newsgroups, 32 bits.

    python train.py --config configs/vdsh_supervised_newsgroups_32bit.py \\
      --workdir runs/vdsh_supervised_newsgroups_32bit --config.data.data_dir=DIR

Data: as for `shttm_newsgroups_32bit.py`. Machine: two CPU cores, a few minutes.
"""

from ml_collections import ConfigDict

from configs import vdsh


def get_config() -> ConfigDict:
    """The settings of `vdsh.py`, tuned on validation documents."""
    config = vdsh.get_config("20newsgroups", num_bits=32, supervised=True)
    config.data.query_share = 0.1  # the collection has no official test set
    config.unlabeled_batch_size = 0  # every message has its tag
    config.encoder.hidden = 256
    config.loss.tag_weight = 10.0
    config.loss.kl_weight = 3.0
    config.loss.kl_steps = 100
    config.num_steps = 400
    config.optimizer.network.learning_rate = 0.002
    return config
