"""DSH-GANs on scikit-learn's handwritten digits, 16 bits: the quick start, on any CPU."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """1,797 digits of 8x8 pixels, 20 labeled a class, 10 queries a class."""
    config = default.get_config()
    config.num_bits = 16
    config.data.source = "digits"
    config.data.queries_per_class = 10
    config.data.labeled_per_class = 20
    config.data.validation_per_class = 20
    config.augment.crop_padding = 1
    config.augment.flip = False
    config.pretraining_steps = 500
    config.num_steps = 1500
    config.generator.width = 32
    config.generator.z_dim = 32
    config.representation.name = "conv3"
    config.representation.width = 16
    config.representation.features = 128
    config.representation.dropout = 0.0
    config.representation.norm = "none"
    config.optimizer.discriminator.learning_rate = 5e-4
    config.optimizer.hash.learning_rate = 5e-4
    config.optimizer.generator.learning_rate = 5e-4
    config.eval_every_steps = 250
    return config
