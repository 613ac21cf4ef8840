"""DSH-GANs on NUS-WIDE-21, 32 bits; see `nus_wide.py` for machine and time."""

from configs import nus_wide


def get_config():
    """`nus_wide.py` with 32 bits."""
    return nus_wide.get_config(num_bits=32)
