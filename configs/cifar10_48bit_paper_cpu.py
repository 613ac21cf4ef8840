"""DSH-GANs on CIFAR-10, 48 bits, as near to the paper as two CPU cores allow.

    python train.py --config configs/cifar10_48bit_paper_cpu.py --workdir runs/cifar10_paper

The paper's game, margin, weights and class target of unlabeled images, in `cifar10_48bit_cpu.py`.
What remains different: network, optimizers and lengths, which are not published, are ours. The
adversarial loss is the mean of a real and a synthetic half. Discriminator and hash step have an
Adam state each, and unlabeled images take part in stage 2. "None" is a class of the softmax. One
labeled image in four is an anchor. Real and synthetic images are augmented. The hash stream's
outputs are standardised, and codes come from averaged weights. docs/methods.md has the whole list.
Data: CIFAR-10 through TFDS, protocol 1000/5000/59000. Machine: about an hour on one CPU core.
Score: docs/results.md.
"""

from ml_collections import ConfigDict

from configs import cifar10_48bit_cpu, paper


def get_config() -> ConfigDict:
    """The settings of `cifar10_48bit_cpu.py` with the losses of the paper."""
    return paper.get_config(cifar10_48bit_cpu.get_config())
