"""DSH-GANs on CIFAR-10 at full size; `cifar10_{12,24,32,48}bit.py` set the code's length.

    python train.py --config configs/cifar10_48bit.py --workdir runs/cifar10_48bit

Data: CIFAR-10 through TFDS, protocol 1000/5000/59000.
Machine: one GPU or TPU; WideResNet-16-4. Not yet trained to the end, so there is no time or score
to state; `cifar10_48bit_cpu.py` is the size that was.
"""

from ml_collections import ConfigDict

from configs import default


def get_config(num_bits: int) -> ConfigDict:
    """The settings of `default.py` with bfloat16 arithmetic."""
    config = default.get_config()
    config.num_bits = num_bits
    config.dtype = "bfloat16"
    return config
