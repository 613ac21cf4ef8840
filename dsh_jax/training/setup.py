"""From a config to what training and evaluation work with; every user's mistake shows here."""

from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from dsh_jax.data import sources, splits
from dsh_jax.data.sources import Dataset
from dsh_jax.data.splits import Split
from dsh_jax.errors import UserError
from dsh_jax.methods import dsh_gan
from dsh_jax.methods.base import Method
from dsh_jax.training.parallel import Devices, pick_devices


@dataclass(frozen=True)
class Experiment:
    """A config made real.

    Attributes:
      config: the config itself.
      devices: what it runs on.
      dataset: all items.
      split: which of them play which role.
      method: what is trained.
    """

    config: ConfigDict
    devices: Devices
    dataset: Dataset
    split: Split
    method: Method


def build_method(config: ConfigDict, dataset: Dataset) -> Method:
    """The method that `config.method` names, for this data.

    Raises:
      UserError: no such method, or a field whose value cannot be.
    """
    methods = {"dsh_gan": dsh_gan.build}
    if config.method not in methods:
        raise UserError(f"method is one of {sorted(methods)}, not {config.method!r}.")
    return methods[config.method](config, dataset.images.shape[1:], len(dataset.class_names))


def draw_split(config: ConfigDict, dataset: Dataset) -> Split:
    """The split that `config.data` describes.

    Raises:
      UserError: the data has not enough items for it.
    """
    return splits.draw(
        dataset,
        seed=config.data.split_seed,
        queries_per_class=config.data.queries_per_class,
        labeled_per_class=config.data.labeled_per_class,
        database=config.data.database,
        validation_per_class=config.data.validation_per_class,
        validation_from=config.data.validation_from,
    )


def prepare(config: ConfigDict, workdir: Path) -> Experiment:
    """Checks everything and reads the data; writes nothing.

    Args:
      config: a whole experiment's config.
      workdir: if it holds a split, that one is used, and must be this config's.

    Raises:
      UserError: whatever the user must mend.
    """
    positive = ("num_bits", "batch_size", "encode_batch_size", "log_every_steps",
                "eval_every_steps", "keep_checkpoints", "num_steps")  # fmt: skip
    for field in positive:
        if config[field] < 1:
            raise UserError(f"{field} is {config[field]}; set it to 1 or more.")
    devices = pick_devices(
        config.num_devices,
        {
            field: config[field]
            for field in ("batch_size", "unlabeled_batch_size", "encode_batch_size")
        },
    )
    dataset = sources.load(config.data.source, config.data.data_dir or None)
    split = draw_split(config, dataset)
    saved = workdir / "split.json"
    if saved.exists() and splits.load(saved).checksum != split.checksum:
        raise UserError(
            f"{saved} is not the split that this config draws from {dataset.name} "
            f"{dataset.version}; choose another --workdir."
        )
    if not len(split.validation):
        raise UserError(
            "data.validation_per_class is 0, so no checkpoint could be chosen; set it to 2 or more."
        )
    method = build_method(config, dataset)
    return Experiment(config, devices, dataset, split, method)
