"""Shared by the configs of NASH."""

from ml_collections import ConfigDict

from configs import variational


def get_config(source: str, num_bits: int, *, supervised: bool) -> ConfigDict:
    """NASH, unsupervised or supervised; arguments as for `variational.get_config`."""
    config = variational.get_config(source, num_bits, supervised=supervised)
    config.method = "nash"
    config.codes.thresholds = "middle"
    config.loss.kl_weight = 0.1
    config.codes.sharpness = 2.0  # ours: keeps bits balanced
    # Whether decoded codes have noise whose variance depends on the document; NASH-N, NASH-DN.
    config.codes.noise = True
    return config
