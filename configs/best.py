"""Shared by the configs of the best recipe, on CIFAR-10 and on digits.

No GAN: the shared network learns from labeled images, and from strong views of unlabeled ones that
must get the class of their weak view. Codes are drawn to a fixed code of their class.
"""

from ml_collections import ConfigDict


def get_config(config: ConfigDict, *, learning_rate: float, warmup_steps: int) -> ConfigDict:
    """Makes the config one of the best recipe; sizes, lengths and consistency are its own.

    Args:
      config: of DSH-GANs, with its data.
      learning_rate: peak one of SGD.
      warmup_steps: of SGD.
    """
    config.gan = False
    config.triplets = "none"
    config.representation.name = "whitened"
    config.representation.features = 0
    config.representation.dropout = 0.0
    config.hash_stream.sharpness = 0.0
    config.loss.center = "csq"
    config.optimizer.hash.name = "sgd"
    config.optimizer.hash.learning_rate = learning_rate
    config.optimizer.hash.b1 = 0.9
    config.optimizer.hash.schedule = "quarter_cosine"
    config.optimizer.hash.warmup_steps = warmup_steps
    return config
