"""DSH-GANs on CIFAR-10, 48 bits, small enough for two CPU cores.

    python train.py --config configs/cifar10_48bit_cpu.py --workdir runs/cifar10_48bit_cpu

The network is CNNH's three convolutions instead of a wide ResNet, and training is short.
Data: CIFAR-10 through TFDS, protocol 1000/5000/59000. Machine: about an hour on one CPU core.
Score: docs/results.md.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The settings of `default.py`, scaled down."""
    config = default.get_config()
    # Synthetic images take most of a step's time: many labeled images per batch, few anchors.
    config.batch_size = 64
    config.anchor_every = 4
    config.unlabeled_batch_size = 32
    config.pretraining_steps = 300
    config.num_steps = 9000
    config.generator.width = 32
    config.representation.name = "conv3"
    config.representation.width = 32
    config.representation.features = 500
    config.representation.dropout = 0.5
    config.representation.norm = "none"
    config.loss.adversarial = "non_saturating"
    config.loss.unlabeled = "mask"
    # The paper has a margin of 1 bit and weights of 1. A wider margin separates the classes more;
    # the weight keeps its larger loss from dominating the classification loss.
    config.loss.triplet_options.margin = 12.0
    config.loss.weights.triplet = 0.1
    # The paper has 1. After such short training, synthetic images do not look like their classes,
    # and a representation trained to classify them learns little about real images.
    config.loss.synthetic_class_weight = 0.0
    config.optimizer.discriminator.learning_rate = 1e-3
    config.optimizer.hash.learning_rate = 1e-3
    config.optimizer.hash.b1 = 0.9
    config.optimizer.generator.learning_rate = 4e-4
    config.eval_every_steps = 500
    return config
