"""Neural SHTTM on Reuters-21578 (ModApte split), 32 bits, with all four improvements.

    python train.py --config configs/shttm_neural_reuters_32bit.py \\
      --workdir runs/shttm_neural_reuters_32bit --config.data.data_dir=DIR

Data: DIR holds reuters21578.tar.gz; its test documents are the queries. Machine: two CPU cores,
a few minutes. Its settings are not tuned for this version's losses, and it has no scores yet; see
docs/results.md. To switch one improvement off, for example:
`--config.improvements.correlated_tags=False`.
"""

from ml_collections import ConfigDict

from configs import shttm_neural


def get_config() -> ConfigDict:
    """The settings of `shttm_neural.py`."""
    return shttm_neural.get_config("reuters21578", num_bits=32)
