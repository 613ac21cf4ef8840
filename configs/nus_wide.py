"""DSH-GANs on NUS-WIDE-21; the number behind the colon is the code's length.

    python train.py --config configs/nus_wide.py:48 --workdir runs/nus_wide_48bit \\
      --config.data.root=DIR

Data: DIR holds the collection's `ImageList`, `Groundtruth` and `Flickr`, or the field's lists
`database.txt`, `train.txt` and `test.txt`. 100 queries and 500 labeled images a concept, the rest
the database (2100/10500/193734 where no image is missing); mAP at 5,000. Machine: one GPU or TPU.
Not yet trained, so there is no time or score to state.
"""

from ml_collections import ConfigDict

from configs import default, image_files


def get_config(num_bits: str | int = "") -> ConfigDict:
    """The settings of `default.py` at 64x64 pixels, with bfloat16 arithmetic."""
    config = image_files.get_config(default.get_config(), "nus_wide", image_size=64)
    config.num_bits = default.bits(num_bits, "nus_wide")
    config.dtype = "bfloat16"
    # With sigmoids, unlabeled images that should have no concept teach the base rates first.
    config.loss.unlabeled = "mask"
    return config
