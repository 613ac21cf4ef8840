"""DSH-GANs on your own images, 48 bits, small enough for two CPU cores.

    python train.py --config configs/image_folder.py --workdir runs/mine --config.data.root=DIR

Data: DIR has a sub-folder for each class, and one named "unlabeled" for images without a label; or
it is a CSV or JSONL file of paths and labels. To check the data first:
`--config.data.dry_run=True`. About a tenth of a class should be queries: set
`--config.data.queries_per_class`. If there are no unlabeled images, set
`--config.unlabeled_batch_size=0`, or use fewer labels with `--config.data.labeled_per_class`.
Machine: about an hour on one CPU core; on a GPU, larger images and networks are possible
(`default.py`).
"""

from ml_collections import ConfigDict

from configs import cifar10_48bit_cpu, image_files


def get_config() -> ConfigDict:
    """The small network of `cifar10_48bit_cpu.py`, on other images."""
    config = image_files.get_config(cifar10_48bit_cpu.get_config(), "image_files", image_size=32)
    config.data.queries_per_class = 10
    config.data.labeled_per_class = 0  # all that have labels
    config.data.validation_per_class = 10
    config.data.validation_from = "labeled"
    return config
