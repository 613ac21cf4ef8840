"""NASH, supervised, on Reuters-21578 (ModApte split), 32 bits.

    python train.py --config configs/nash_supervised_reuters_32bit.py \\
      --workdir runs/nash_supervised_reuters_32bit --config.data.data_dir=DIR

Data: as for `shttm_reuters_32bit.py`. Machine: two CPU cores, a few minutes.
"""

from ml_collections import ConfigDict

from configs import nash


def get_config() -> ConfigDict:
    """The settings of `nash.py`, tuned on validation documents."""
    config = nash.get_config("reuters21578", num_bits=32, supervised=True)
    config.encoder.hidden = 256
    config.loss.tag_weight = 10.0
    config.loss.kl_weight = 0.03
    config.loss.kl_steps = 100
    config.num_steps = 400
    config.optimizer.network.learning_rate = 0.005
    return config
