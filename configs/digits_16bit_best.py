"""The best recipe on scikit-learn's handwritten digits, 16 bits: consistency on unlabeled images.

    python train.py --config configs/digits_16bit_best.py --workdir runs/digits_best \
      --config.data.labeled_per_class=5

Data: as for `digits_16bit.py`. Machine: two CPU cores, about a minute. Scores: docs/results.md.
"""

from ml_collections import ConfigDict

from configs import best, digits_16bit


def get_config() -> ConfigDict:
    """The data of `digits_16bit.py`, with the network and the losses that work best."""
    config = best.get_config(digits_16bit.get_config(), learning_rate=0.1, warmup_steps=50)
    config.batch_size = 50
    config.pretraining_steps = 200
    config.num_steps = 800
    config.representation.width = 16
    config.consistency.batch_size = 150
    config.consistency.threshold = 0.8
    # Digits keep their class under small distortions only.
    config.consistency.rotate = 15.0
    config.consistency.shear = 0.2
    config.consistency.scale = 0.15
    config.consistency.shift = 0.1
    config.consistency.colour = 0.2
    config.consistency.grey = 0.0
    config.consistency.negative = 0.0
    config.consistency.cutout = 2
    config.ema_decay = 0.99
    config.eval_every_steps = 200
    return config
