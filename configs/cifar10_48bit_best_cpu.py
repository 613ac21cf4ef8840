"""The best recipe on CIFAR-10, 48 bits, for two CPU cores.

    python train.py --config configs/cifar10_48bit_best_cpu.py --workdir runs/cifar10_best

No GAN: the shared network learns from labeled images and from strong views of unlabeled ones.
Data: CIFAR-10 through TFDS, protocol 1000/5000/59000. Machine: two CPU cores, about 100 minutes.
Score: docs/results.md.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The settings of `default.py`, with the network and the losses that work best."""
    config = default.get_config()
    config.gan = False
    config.triplets = "none"
    config.batch_size = 64
    config.consistency.batch_size = 192
    config.consistency.threshold = 0.9
    config.pretraining_steps = 2500
    config.num_steps = 10_000
    config.representation.name = "whitened"
    config.representation.width = 32
    config.representation.features = 0
    config.augment.cutout = 12
    config.hash_stream.sharpness = 0.0
    config.loss.center = "csq"
    config.loss.classification_options = ConfigDict({"smoothing": 0.1})
    config.optimizer.hash.name = "sgd"
    config.optimizer.hash.learning_rate = 0.1
    config.optimizer.hash.b1 = 0.9
    config.optimizer.hash.schedule = "quarter_cosine"
    config.optimizer.hash.warmup_steps = 200
    config.ema_decay = 0.998
    config.eval_every_steps = 500
    return config
