"""DSH-GANs on NUS-WIDE-21; the number after the colon is the code length.

    python train.py --config configs/nus_wide.py:48 --workdir runs/nus_wide_48bit \\
      --config.data.root=DIR

Data: DIR holds the collection's `ImageList`, `Groundtruth` and `Flickr`, or the lists that are
common in the literature, `database.txt`, `train.txt` and `test.txt`. 100 queries and 500 labeled
images per concept; all except the queries are the database (2100/10500/193734 if no image is
missing); mAP at 5,000. Machine: one GPU or TPU. Not yet trained, so there is no time or score.
"""

from ml_collections import ConfigDict

from configs import default, image_files


def get_config(num_bits: str | int = "") -> ConfigDict:
    """The settings of `default.py` at 64x64 pixels, with bfloat16 arithmetic."""
    config = image_files.get_config(default.get_config(), "nus_wide", image_size=64)
    config.num_bits = default.bits(num_bits, "nus_wide")
    config.dtype = "bfloat16"
    # With sigmoids, a target of no concept for unlabeled images mainly teaches the base rates.
    config.loss.unlabeled = "mask"
    return config
