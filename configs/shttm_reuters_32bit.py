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
    """The settings of `shttm.py`, whose weights were chosen on this collection."""
    return shttm.get_config("reuters21578", num_bits=32)
