"""Neural SHTTM on vectors of documents, such as sentence embeddings, 32 bits, with their tags.

    python train.py --config configs/shttm_neural_features.py --workdir runs/mine \\
      --config.data.root=DIR

Data: as for `features.py`; labels are the tags. A document may have several, or none: to learn from
those as well, set `--config.unlabeled_batch_size=64`. Machine: one or two minutes on two CPU cores,
whatever the number of vectors.
"""

from ml_collections import ConfigDict

from configs import features, shttm_neural


def get_config() -> ConfigDict:
    """The settings of `shttm_neural.py`, with the data of `features.py`."""
    config = shttm_neural.get_config("features", num_bits=32)
    config.data = features.get_config().data
    config.unlabeled_batch_size = 0  # vectors without a label; 0 leaves them out
    # From a few trials on validation documents; not tuned.
    config.improvements.learned_uncertainty = False
    config.encoder.word_dropout = 0.1  # probability for a number of a vector
    config.loss.missing = 0.3
    config.optimizer.network.learning_rate = 3e-3
    config.num_steps = 1000
    config.loss.vectors = "vector_loss"
    # If topics are learned jointly: of the vectors' likelihood, per number. Codes stay near the
    # principal components of the vectors otherwise, in place of LDA's topics.
    config.loss.vector_weight = 0.1
    return config
