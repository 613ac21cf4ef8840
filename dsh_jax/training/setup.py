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
from dsh_jax.training.workdir import flatten


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


def _check_least(config: ConfigDict) -> None:
    """Refuses numbers that are too small to mean anything."""
    least = {
        1: ("num_bits", "batch_size", "anchor_every", "num_steps", "encode_batch_size",
            "log_every_steps", "eval_every_steps", "keep_checkpoints", "generator.width",
            "generator.z_dim", "representation.width"),
        0: ("seed", "unlabeled_batch_size", "pretraining_steps", "augment.crop_padding",
            "representation.features", "representation.dropout", "hash_stream.sharpness",
            "ema_decay"),
    }  # fmt: skip
    values = flatten(config.to_dict())
    for bound, fields in least.items():
        for field in fields:
            if values[field] < bound:
                raise UserError(f"{field} is {values[field]}; set it to {bound} or more.")


def prepare(config: ConfigDict, workdir: Path, *, training: bool = True) -> Experiment:
    """Checks everything and reads the data; writes nothing.

    Args:
      config: a whole experiment's config.
      workdir: if it holds a split, that one must be this config's.
      training: whether batches for training must fit the devices, not only those for encoding.

    Raises:
      UserError: whatever the user must mend.
    """
    _check_least(config)
    batch_sizes = {"encode_batch_size": config.encode_batch_size}
    if training:
        batch_sizes |= {
            "batch_size": config.batch_size,
            "unlabeled_batch_size": config.unlabeled_batch_size,
            "batch_size / anchor_every": config.batch_size // config.anchor_every,
        }
    devices = pick_devices(config.num_devices, batch_sizes)
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
