"""Shared by the configs of VDSH."""

from ml_collections import ConfigDict

from configs import variational


def get_config(source: str, num_bits: int, *, supervised: bool) -> ConfigDict:
    """VDSH, or with `supervised` VDSH-S; arguments as for `variational.get_config`."""
    config = variational.get_config(source, num_bits, supervised=supervised)
    config.method = "vdsh"
    if not supervised:  # the words alone would not be worth the divergence
        config.loss.kl_weight = 0.03
    return config
