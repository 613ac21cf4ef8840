"""Shared by the configs that are as near to the paper as published: the losses of DSH-GANs.

What the paper does not publish, and what differs from it, is in docs/methods.md.
"""

from ml_collections import ConfigDict


def get_config(config: ConfigDict) -> ConfigDict:
    """Gives a config of DSH-GANs the paper's game, margin, weights and class targets."""
    config.loss.adversarial = "minimax"
    config.loss.unlabeled = "zero"
    config.loss.triplet_options.margin = 1.0
    config.loss.weights.triplet = 1.0
    config.loss.weights.adversarial = 1.0
    config.loss.weights.classification = 1.0
    config.loss.synthetic_class_weight = 1.0
    return config
