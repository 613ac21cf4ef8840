"""SHTTM in its published form, on 20 Newsgroups, 32 bits.

    python train.py --config configs/shttm_published_newsgroups_32bit.py \\
      --workdir runs/shttm_published_newsgroups_32bit --config.data.data_dir=DIR

Without rotation; bits are thresholded at the medians of the learned codes. Data and machine: as
for `shttm_newsgroups_32bit.py`. Scores: docs/results.md.
"""

from configs import shttm, shttm_newsgroups_32bit


def get_config():
    """The settings of `shttm_newsgroups_32bit.py`, in the published form."""
    config = shttm_newsgroups_32bit.get_config()
    return shttm.published(config, missing=0.001, tag_ridge=0.3, topic_weight=0.00001)
