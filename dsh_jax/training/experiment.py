"""From a config to what training and evaluation work with; every user's mistake shows here."""

from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from dsh_jax.data.batches import check_split
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.documents.collections import Documents
from dsh_jax.data.images.dataset import ImageDataset
from dsh_jax.data.loading import draw_split, load_dataset, read_words
from dsh_jax.data.splits.split import ID_FIELDS, Split
from dsh_jax.data.splits.split import load as load_split
from dsh_jax.data.splits.split import load_for as load_split_for
from dsh_jax.devices import Devices, pick_devices
from dsh_jax.errors import UserError
from dsh_jax.methods import cnnh, dsh_gan, shttm, shttm_neural
from dsh_jax.methods.base import Method
from dsh_jax.report.preview import write_preview
from dsh_jax.training.workdir import flatten

VOCABULARY = "vocabulary.json"
"""The file in a workdir that keeps the words that documents are read by."""


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
    of_images = {"cnnh": cnnh.build, "dsh_gan": dsh_gan.build}
    of_documents = {"shttm": shttm.build, "shttm_neural": shttm_neural.build}
    if config.method in of_documents:
        return of_documents[config.method](config, dataset)
    if config.method not in of_images:
        names = sorted(of_images | of_documents)
        raise UserError(f"method is one of {names}, not {config.method!r}.")
    if not isinstance(dataset, ImageDataset):
        raise UserError(f"method {config.method!r} takes images, but {dataset.name} has none.")
    return of_images[config.method](config, dataset.images.shape[1:], len(dataset.class_names))


def with_labels_of(config: ConfigDict, dataset: Dataset) -> ConfigDict:
    """The config with `loss.labels` as the data has them, where it is "auto".

    Raises:
      UserError: the config asks for one label an image, and the data has more, or none.
    """
    if "labels" not in config.get("loss", {}):
        return config
    if config.loss.labels == "auto":
        config = config.copy_and_resolve_references()
        config.loss.labels = "multi" if dataset.multi_label else "single"
    if config.loss.labels == "single" and dataset.multi_label:
        raise UserError(
            f"loss.labels is {config.loss.labels!r}, but {dataset.name} has several labels an "
            "image, or images without any; set it to 'multi' or 'auto'."
        )
    return config


def _check_least(config: ConfigDict) -> None:
    """Refuses numbers that are too small to mean anything."""
    least = {
        1: ("num_bits", "batch_size", "anchor_every", "num_steps", "encode_batch_size",
            "log_every_steps", "eval_every_steps", "keep_checkpoints", "generator.width",
            "generator.z_dim", "representation.width", "encoder.hidden", "decoder.hidden"),
        0: ("seed", "unlabeled_batch_size", "pretraining_steps", "augment.crop_padding",
            "representation.features", "representation.dropout", "hash_stream.sharpness",
            "ema_decay", "encoder.dropout", "encoder.word_dropout"),
    }  # fmt: skip
    values = flatten(config.to_dict())
    for bound, fields in least.items():
        for field in fields:
            if field in values and values[field] < bound:  # methods differ in what they have
                raise UserError(f"{field} is {values[field]}; set it to {bound} or more.")
    for field in ("representation.dropout", "encoder.dropout", "encoder.word_dropout", "ema_decay"):
        if values.get(field, 0) >= 1:
            raise UserError(f"{field} is {values[field]}; set it below 1.")


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
    dataset = load_dataset(config.data)
    saved = workdir / "split.json"
    if config.data.split_file and saved.exists():  # the file itself may have gone since
        split = load_split_for(dataset, saved)
    else:
        split = draw_split(config.data, dataset)
    if saved.exists() and load_split(saved).checksum != split.checksum:
        raise UserError(
            f"{saved} is not the split that this config draws from {dataset.name} "
            f"{dataset.version}; choose another --workdir."
        )
    if not len(split.validation):
        raise UserError(
            "data.validation_per_class is 0, so no checkpoint could be chosen; set it to 2 or more."
        )
    if isinstance(dataset, Documents):
        dataset = read_words(config.data, dataset, split, workdir / VOCABULARY)
    config = with_labels_of(config, dataset)
    method = build_method(config, dataset)
    for stage in method.stages if training else ():
        check_split(dataset, split, stage.batch)
    shared = dict(method.shared) if training else {}
    shared["encode_batch_size"] = config.encode_batch_size
    devices = pick_devices(config.num_devices, shared)
    return Experiment(config, devices, dataset, split, method)


def preview(config: ConfigDict, workdir: Path) -> str:
    """Counts and shows the images of a config, and trains nothing.

    Args:
      config: a whole experiment's config.
      workdir: gets `preview.txt` and `preview.png`, and nothing else.

    Returns:
      The counts and what was left out, to be printed.

    Raises:
      UserError: the data is no images, or is missing or damaged.
    """
    dataset = load_dataset(config.data)
    if not isinstance(dataset, ImageDataset):
        raise UserError(f"data.dry_run shows images, and {dataset.name} has none; set it to False.")
    parts, problem = {}, ""
    try:
        split = draw_split(config.data, dataset)
        parts = {role: getattr(split, role) for role in ID_FIELDS}
    except UserError as error:  # what there is to see may help to mend it
        problem = f"\n\nThere is no split yet: {error}"
    text = write_preview(
        workdir, images=dataset.images, labels=dataset.labels, class_names=dataset.class_names,
        parts=parts, skipped=getattr(dataset, "skipped", ()),
    )  # fmt: skip
    return f"{text}{problem}\n\nThumbnails: {workdir / 'preview.png'}"
