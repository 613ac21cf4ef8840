"""VDSH-S, the supervised form of VDSH, on Reuters-21578 (ModApte split), 32 bits.

    python train.py --config configs/vdsh_supervised_reuters_32bit.py \\
      --workdir runs/vdsh_supervised_reuters_32bit --config.data.data_dir=DIR

Data: as for `shttm_reuters_32bit.py`. Machine: two CPU cores, a few minutes.
"""

from ml_collections import ConfigDict

from configs import vdsh


def get_config() -> ConfigDict:
    """The settings of `vdsh.py`, tuned on validation documents."""
    config = vdsh.get_config("reuters21578", num_bits=32, supervised=True)
    config.encoder.hidden = 256
    config.loss.tag_weight = 30.0
    config.loss.kl_weight = 0.1
    config.loss.kl_steps = 100
    config.num_steps = 400
    config.optimizer.network.learning_rate = 0.002
    return config
