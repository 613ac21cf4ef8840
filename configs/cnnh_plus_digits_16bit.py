"""CNNH+ on scikit-learn's handwritten digits, 16 bits.

    python train.py --config configs/cnnh_plus_digits_16bit.py --workdir runs/cnnh_plus_digits

Data and split as `digits_16bit.py`. Machine: one CPU core, about a minute. Scores: docs/results.md.
"""

from ml_collections import ConfigDict

from configs import cnnh, digits_16bit


def get_config() -> ConfigDict:
    """`cnnh.py` with the data, the augmentation and the network size of `digits_16bit.py`."""
    config, digits = cnnh.get_config(num_bits=16, class_outputs=True), digits_16bit.get_config()
    config.data = digits.data
    config.augment.crop_padding = digits.augment.crop_padding
    config.augment.flip = digits.augment.flip
    config.representation.features = digits.representation.features
    config.num_steps = 3000
    return config
