"""DSH-GANs on CIFAR-10, 48 bits: the main experiment; see `cifar10.py` for machine and time."""

from ml_collections import ConfigDict

from configs import cifar10


def get_config() -> ConfigDict:
    """`cifar10.py:48`."""
    return cifar10.get_config(48)
