"""DSH-GANs on CIFAR-10 at full size; the number after the colon is the code length.

    python train.py --config configs/cifar10.py:32 --workdir runs/cifar10_32bit

The main experiment, 48 bits, has its own file: `cifar10_48bit.py`.

Data: CIFAR-10 through TFDS, protocol 1000/5000/59000.
Machine: one GPU or TPU; WideResNet-16-4. Not yet trained to the end, so there is no time or score;
for a smaller config with both see `cifar10_48bit_cpu.py`.
"""

from ml_collections import ConfigDict

from configs import default


def get_config(num_bits: str | int = "") -> ConfigDict:
    """The settings of `default.py` with bfloat16 arithmetic."""
    config = default.get_config()
    config.num_bits = default.bits(num_bits, "cifar10")
    config.dtype = "bfloat16"
    return config
