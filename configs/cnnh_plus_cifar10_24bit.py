"""CNNH+ on CIFAR-10, 24 bits; see `cnnh.py` for command, data, machine and time."""

from configs import cnnh


def get_config():
    """`cnnh.py` with 24 bits and class outputs."""
    return cnnh.get_config(num_bits=24, class_outputs=True)
