"""The best recipe on CIFAR-10, 48 bits, at full size.

    python train.py --config configs/cifar10_48bit_best.py --workdir runs/cifar10_best

`best.py` says what the recipe is.
Data: CIFAR-10 through TFDS, protocol 1000/5000/59000.
Machine: one GPU or TPU. Not yet trained to the end, so there is no time or score; for a smaller
config with both see `cifar10_48bit_best_cpu.py`.
"""

from ml_collections import ConfigDict

from configs import best, default


def get_config() -> ConfigDict:
    """The settings of `default.py`, with the network and the losses that work best."""
    config = best.get_config(default.get_config(), learning_rate=0.12, warmup_steps=200)
    config.optimizer.hash.weight_decay = 0.005
    config.dtype = "bfloat16"
    config.batch_size = 64
    config.consistency.batch_size = 448
    config.pretraining_steps = 3000
    config.num_steps = 65_000
    config.representation.width = 64
    config.augment.cutout = 12
    config.mirrored = True
    config.loss.classification_options = ConfigDict({"smoothing": 0.1})
    config.ema_decay = 0.999
    return config
