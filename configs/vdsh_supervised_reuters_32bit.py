"""VDSH-S, the supervised form of VDSH, on Reuters-21578 (ModApte split), 32 bits.

    python train.py --config configs/vdsh_supervised_reuters_32bit.py \\
      --workdir runs/vdsh_supervised_reuters_32bit --config.data.data_dir=DIR

Data: as for `shttm_reuters_32bit.py`. Machine: two CPU cores, a few minutes.
"""

from ml_collections import ConfigDict

from configs import vdsh


def get_config() -> ConfigDict:
    """The settings of `vdsh.py`."""
    config = vdsh.get_config("reuters21578", num_bits=32, supervised=True)
    return config
