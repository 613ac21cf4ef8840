"""SHTTM on Reuters-21578 (ModApte split), 32 bits.

    python train.py --config configs/shttm_reuters_32bit.py --workdir runs/shttm_reuters_32bit \\
      --config.data.data_dir=DIR

Data: DIR holds reuters21578.tar.gz; its test documents are the queries. Machine: any CPU, under a
minute. Scores: docs/results.md. For the published form see
`shttm_published_reuters_32bit.py`.
"""

from ml_collections import ConfigDict

from configs import shttm


def get_config() -> ConfigDict:
    """The settings of `shttm.py`, with weights chosen on this collection."""
    config = shttm.get_config("reuters21578", num_bits=32)
    config.codes.missing = 0.3
    config.codes.tag_ridge = 3.0
    config.codes.topic_weight = 0.03
    config.codes.hash_ridge = 1.0
    return config
