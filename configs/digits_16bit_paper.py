"""DSH-GANs on handwritten digits, 16 bits, as near to the paper as published.

    python train.py --config configs/digits_16bit_paper.py --workdir runs/digits_paper

The network, optimizers and lengths of `digits_16bit.py`, which the paper does not publish, with its
losses; `cifar10_48bit_paper_cpu.py` lists what remains different.
Data and machine: as for `digits_16bit.py`. Scores: docs/results.md.
"""

from ml_collections import ConfigDict

from configs import digits_16bit, paper


def get_config() -> ConfigDict:
    """The settings of `digits_16bit.py` with the losses of the paper."""
    return paper.get_config(digits_16bit.get_config())
