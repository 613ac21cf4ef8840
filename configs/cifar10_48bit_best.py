"""The best recipe on CIFAR-10, 48 bits, at full size.

    python train.py --config configs/cifar10_48bit_best.py --workdir runs/cifar10_best

No GAN: the shared network learns from labeled images, and from strong views of unlabeled ones that
must get the class of their weak view. Codes are drawn to a fixed code of their class.

Data: CIFAR-10 through TFDS, protocol 1000/5000/59000.
Machine: one GPU or TPU. Not yet trained to the end, so there is no time or score; for a smaller
config with both see `cifar10_48bit_best_cpu.py`.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The settings of `default.py`, with the network and the losses that work best."""
    config = default.get_config()
    config.dtype = "bfloat16"
    config.gan = False
    config.triplets = "none"
    config.batch_size = 64
    config.consistency.batch_size = 448
    config.pretraining_steps = 3000
    config.num_steps = 65_000
    config.representation.name = "whitened"
    config.representation.width = 64
    config.representation.features = 0
    config.augment.cutout = 12
    config.hash_stream.sharpness = 0.0
    config.mirrored = True
    config.loss.center = "csq"
    config.loss.classification_options = ConfigDict({"smoothing": 0.1})
    config.optimizer.hash.name = "sgd"
    config.optimizer.hash.learning_rate = 0.3
    config.optimizer.hash.b1 = 0.9
    config.optimizer.hash.schedule = "quarter_cosine"
    config.optimizer.hash.warmup_steps = 200
    config.ema_decay = 0.999
    return config
