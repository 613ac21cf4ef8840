"""What synthetic images are worth on CIFAR-10, 48 bits; the arm is after the colon.

    python train.py --config configs/cifar10_arms.py:gan --workdir runs/cifar10_gan \
      --config.data.labeled_per_class=100

`arms.py` explains the arms. Data: CIFAR-10 through TFDS. Machine: two CPU cores, a quarter of an
hour. Not yet trained to the end, so there is no score.
"""

from ml_collections import ConfigDict

from configs import arms, cifar10_48bit_best_cpu


def get_config(name: str = "") -> ConfigDict:
    """The network and the consistency of `cifar10_48bit_best_cpu.py`, with triplets."""
    config = cifar10_48bit_best_cpu.get_config()
    config.mirrored = False
    config.anchor_every = 4
    config.unlabeled_batch_size = 64
    config.consistency.batch_size = 128
    config.pretraining_steps = 400
    config.num_steps = 800
    config.loss.unlabeled = "mask"
    config.loss.center = ""
    config.loss.synthetic_class_weight = 0.0
    config.hash_stream.sharpness = 4.0
    config.loss.triplet_options.margin = 12.0
    config.loss.weights.triplet = 0.1
    config.loss.adversarial = "non_saturating"
    config.generator.name = "residual"
    config.generator.width = 24
    config.optimizer.discriminator.learning_rate = 1e-3
    config.optimizer.generator.learning_rate = 4e-4
    config.eval_every_steps = 200
    return arms.get_config(config, name, "cifar10_arms")
