"""CNNH on CIFAR-10; the number after the colon is the code length.

    python train.py --config configs/cnnh_cifar10.py:48 --workdir runs/cnnh_cifar10_48bit

Data, machine and time: `cnnh.py`.
"""

from ml_collections import ConfigDict

from configs import cnnh, default


def get_config(num_bits: str | int = "") -> ConfigDict:
    """`cnnh.py` without class outputs."""
    return cnnh.get_config(default.bits(num_bits, "cnnh_cifar10"), class_outputs=False)
