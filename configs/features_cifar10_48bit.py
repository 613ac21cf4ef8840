"""DSH-GANs on embeddings of CIFAR-10, 48 bits: vectors of this project's own encoder of images.

    python -m tools.embed --encoder examples/cifar10_48bit.safetensors \\
      --config configs/cifar10_48bit_best_cpu.py --output DIR
    python train.py --config configs/features_cifar10_48bit.py --workdir runs/vectors \\
      --config.data.root=DIR

Data: 60,000 vectors of 128 numbers, protocol 1000/5000/59000 with the split of the encoder (seed
0): with another one, queries are images whose labels the vectors have seen. Machine: one CPU core,
a few minutes. Score: docs/results.md.
"""

from ml_collections import ConfigDict

from configs import default, features


def get_config() -> ConfigDict:
    """`features.py` with the split of `default.py`."""
    config, split = features.get_config(), default.get_config().data
    for field in ("queries_per_class", "labeled_per_class", "validation_per_class"):
        config.data[field] = split[field]
    config.data.validation_from = split.validation_from
    config.data.name = "cifar10_features"
    return config
