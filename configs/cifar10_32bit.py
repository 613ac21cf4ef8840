"""DSH-GANs on CIFAR-10, 32 bits; see `cifar10.py` for machine and time."""

from configs import cifar10


def get_config():
    """`cifar10.py` with 32 bits."""
    return cifar10.get_config(num_bits=32)
