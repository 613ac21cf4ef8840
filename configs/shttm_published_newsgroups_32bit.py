"""SHTTM in the form that its paper publishes, on 20 Newsgroups, 32 bits.

    python train.py --config configs/shttm_published_newsgroups_32bit.py \\
      --workdir runs/shttm_published_newsgroups_32bit --config.data.data_dir=DIR

No rotation follows, and bits are thresholded at the medians of the learned codes. Data and machine:
as for `shttm_newsgroups_32bit.py`. Scores: README.
"""

from ml_collections import ConfigDict

from configs import shttm_newsgroups_32bit


def get_config() -> ConfigDict:
    """The weights were chosen for this form."""
    config = shttm_newsgroups_32bit.get_config()
    config.codes.rotation = False
    config.codes.fitted_to = "codes"
    config.codes.thresholds = "median"
    config.codes.missing = 0.003
    config.codes.tag_ridge = 0.1
    config.codes.topic_weight = 0.0001
    config.codes.hash_ridge = 3.0
    return config
