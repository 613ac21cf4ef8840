"""Neural SHTTM on Reuters-21578 (ModApte split), 32 bits, with all four improvements.

    python train.py --config configs/shttm_neural_reuters_32bit.py \\
      --workdir runs/shttm_neural_reuters_32bit --config.data.data_dir=DIR

Data: DIR holds reuters21578.tar.gz; its test documents are the queries. Machine: two CPU cores,
a minute or two. Score: docs/results.md. To switch one improvement off, for example:
`--config.improvements.correlated_tags=False`.
"""

from ml_collections import ConfigDict

from configs import shttm_neural


def get_config() -> ConfigDict:
    """The settings of `shttm_neural.py`, tuned on validation documents."""
    config = shttm_neural.get_config("reuters21578", num_bits=32)
    config.encoder.hidden = 256
    config.encoder.word_dropout = 0.1
    config.loss.missing = 0.7
    config.exposure.beta = 10.0
    config.correlation.weight = 0.1
    config.num_steps = 400
    config.optimizer.network.learning_rate = 0.002
    return config
