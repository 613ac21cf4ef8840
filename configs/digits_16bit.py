"""DSH-GANs on scikit-learn's handwritten digits, 16 bits: the quick start, on any CPU.

    python train.py --config configs/digits_16bit.py --workdir runs/digits_16bit

Data: 1,797 real digits of 8x8 pixels, inside scikit-learn; 10 queries and 20 labeled images per
class, all images except the queries in the database. Machine: two CPU cores, about three minutes.
Scores: docs/results.md.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The settings of `default.py`, scaled down."""
    config = default.get_config()
    config.num_bits = 16
    config.data.source = "digits"
    config.data.queries_per_class = 10
    config.data.labeled_per_class = 20
    config.data.validation_per_class = 20
    config.augment.crop_padding = 1
    config.augment.flip = False
    config.pretraining_steps = 500
    config.num_steps = 2500
    config.generator.width = 32
    config.generator.z_dim = 32
    config.representation.name = "conv3"
    config.representation.width = 32
    config.representation.features = 256
    config.representation.dropout = 0.5
    config.representation.norm = "none"
    config.loss.adversarial = "non_saturating"
    # The paper has "zero". Beside so few labeled images the class "none" takes over.
    config.loss.unlabeled = "mask"
    # The paper has a margin of 1 bit and weights of 1. A wider margin separates the classes more;
    # the weight keeps its larger loss from dominating the classification loss.
    config.loss.triplet_options.margin = 4.0
    config.loss.weights.triplet = 0.2
    # The paper has 1. Classes learned from real images only give better codes here.
    config.loss.synthetic_class_weight = 0.0
    config.optimizer.discriminator.learning_rate = 1e-3
    config.optimizer.hash.learning_rate = 2e-3
    config.optimizer.hash.b1 = 0.9
    config.optimizer.generator.learning_rate = 1e-3
    config.eval_every_steps = 500
    return config
