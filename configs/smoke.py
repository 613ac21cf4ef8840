"""A minimal run of every part, for tests: seconds on one CPU core, useless codes.

    python train.py --config configs/smoke.py --workdir runs/smoke
"""

from ml_collections import ConfigDict

from configs import digits_16bit
from dsh_jax.networks.backbones import BACKBONES


def shrink(config: ConfigDict) -> ConfigDict:
    """Makes a config small enough for a test: tiny networks and a few steps."""
    config.batch_size = 8
    config.num_steps = 4
    if config.method == "dsh_gan":
        config.anchor_every = min(2, config.anchor_every)
        config.unlabeled_batch_size = min(8, config.unlabeled_batch_size)
        config.pretraining_steps = min(2, config.pretraining_steps)
        config.generator.width = 8
        config.consistency.batch_size = min(8, config.consistency.batch_size)
    if config.representation.name in BACKBONES:
        is_resnet = BACKBONES[config.representation.name].has_batch_norm
        config.representation.name = "tiny_resnet" if is_resnet else "tiny_vit"
        config.pretrained.weights = ""
    config.representation.width = 8
    config.representation.depth = 1 if config.representation.name == "mlp" else 10
    config.representation.features = min(16, config.representation.features)
    config.encode_batch_size = 200
    config.log_every_steps = 2
    config.eval_every_steps = 3
    return config


def get_config() -> ConfigDict:
    """The digits config, shrunk."""
    return shrink(digits_16bit.get_config())
