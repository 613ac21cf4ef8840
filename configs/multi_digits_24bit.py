"""DSH-GANs on images of several handwritten digits, 24 bits: several labels per image.

    python train.py --config configs/multi_digits_24bit.py --workdir runs/multi_digits_24bit

Data: 7,000 images of 16x16 pixels with 2 to 4 different digits each, composed of scikit-learn's;
the 1,000 official test images are the queries, 100 images per class are labeled. Machine: two
CPU cores, a few minutes. Scores: docs/results.md.
"""

from ml_collections import ConfigDict

from configs import digits_16bit


def get_config() -> ConfigDict:
    """The settings of `digits_16bit.py`, for several labels per image."""
    config = digits_16bit.get_config()
    config.num_bits = 24
    config.data.source = "multi_digits"
    config.data.queries_per_class = 0  # the official test images
    config.data.labeled_per_class = 100
    config.data.validation_per_class = 50
    config.anchor_every = 4  # many labeled images per step, few synthetic ones
    config.unlabeled_batch_size = 32
    config.pretraining_steps = 300
    config.num_steps = 2100
    config.loss.labels = "multi"
    config.loss.unlabeled = "mask"
    config.eval_every_steps = 300
    return config
