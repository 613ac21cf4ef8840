"""The best recipe on CIFAR-10, 48 bits, small enough for two CPU cores.

    python train.py --config configs/cifar10_48bit_best_cpu.py --workdir runs/cifar10_best_cpu

Half the width of `cifar10_48bit_best.py`, and fewer and smaller steps.
Data: CIFAR-10 through TFDS, protocol 1000/5000/59000. Machine: two CPU cores, about 100 minutes.
Score: docs/results.md.
"""

from ml_collections import ConfigDict

from configs import cifar10_48bit_best


def get_config() -> ConfigDict:
    """The settings of `cifar10_48bit_best.py`, scaled down."""
    config = cifar10_48bit_best.get_config()
    config.dtype = "float32"
    config.consistency.batch_size = 192
    config.consistency.threshold = 0.8
    # Milder views than the default: this network is too small, and its training too short, to learn
    # what it sees in those.
    config.consistency.update(
        {"rotate": 15.0, "shear": 0.15, "scale": 0.15, "shift": 0.1, "colour": 0.4, "cutout": 12}
    )
    config.pretraining_steps = 1500
    config.num_steps = 10_000
    config.representation.width = 32
    config.ema_decay = 0.998
    config.eval_every_steps = 500
    return config
