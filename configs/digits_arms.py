"""What synthetic images are worth on handwritten digits, 16 bits; the arm is after the colon.

    python train.py --config configs/digits_arms.py:gan --workdir runs/digits_gan \
      --config.data.labeled_per_class=5

`arms.py` explains the arms. Data: as for `digits_16bit.py`. Machine: two CPU cores, a few minutes.
Scores: docs/results.md.
"""

from ml_collections import ConfigDict

from configs import arms, digits_16bit_best


def get_config(name: str = "") -> ConfigDict:
    """The network and the consistency of `digits_16bit_best.py`, with triplets."""
    config = digits_16bit_best.get_config()
    config.anchor_every = 2
    config.unlabeled_batch_size = 50
    config.pretraining_steps = 300
    config.num_steps = 600
    config.loss.unlabeled = "mask"
    config.loss.center = ""
    config.hash_stream.sharpness = 4.0
    config.generator.name = "residual"
    config.generator.width = 16
    # Where the search for each arm starts.
    config.optimizer.hash.learning_rate = 0.2
    config.loss.weights.triplet = 0.05
    return arms.get_config(config, name, "digits_arms")
