"""CNNH+ on CIFAR-10, 48 bits; see `cnnh.py` for command, data, machine and time."""

from configs import cnnh


def get_config():
    """`cnnh.py` with 48 bits and class outputs."""
    return cnnh.get_config(num_bits=48, class_outputs=True)
