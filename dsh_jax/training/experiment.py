"""Builds what training and evaluation need from a config, and reports users' mistakes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ml_collections import ConfigDict

from dsh_jax import fields, metrics
from dsh_jax.data import changes, known_items, loading
from dsh_jax.data.batches import check_split
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.documents.collections import Documents
from dsh_jax.data.known_items import KnownItems
from dsh_jax.data.signature import ImageInputs, Inputs, Signature
from dsh_jax.data.splits import drawing
from dsh_jax.data.splits.split import Split, is_of
from dsh_jax.data.splits.split import load as load_split
from dsh_jax.data.splits.split import load_for as load_split_for
from dsh_jax.data.splits.unseen import of_seen_classes
from dsh_jax.data.vectors.dataset import VectorDataset
from dsh_jax.devices import Devices, local, pick_devices, pick_training_devices
from dsh_jax.encoder import Encoder
from dsh_jax.encoder_files import SIGNATURE, load_description
from dsh_jax.errors import UserError, as_user_error
from dsh_jax.fields import SEED, Choice, Integer, Names, Number, Rules, Switch
from dsh_jax.judge import load_judge
from dsh_jax.losses.slots import OPTIONS
from dsh_jax.methods import METHODS, augmentation, kinds
from dsh_jax.methods.base import Method, Recipe
from dsh_jax.metrics import Metric
from dsh_jax.networks.backbones import BACKBONES
from dsh_jax.pretrained import settings as pretrained
from dsh_jax.training import calls
from dsh_jax.training.automatic import settled

FIELDS: Rules = {
    "seed": SEED,
    "num_devices": Integer(0, 10**6),
    "encode_batch_size": Integer(1, 2**20),
    "log_every_steps": Integer(1, 10**9),
    "eval_every_steps": Integer(1, 10**9),
    "keep_checkpoints": Integer(1, 10**9),
}
"""The fields of the training loop, which all configs have."""

OPTIONAL: Rules = {
    "metrics": Names(),
    "distributed": Switch(),
    "max_minutes": Number(least=0),
    "profile": Switch(),
    "items_on_device": Choice(calls.WHERE),
    "steps_per_call": Integer(0, 10**4),
    "generator.image_size": Integer(-1, 4096),
    **augmentation.FIELDS,
    **kinds.OPTIONAL,
    **pretrained.FIELDS,
}
"""Those that not all configs have: none of earlier versions, or none of images."""


@dataclass(frozen=True)
class Experiment:
    """What a config describes, built.

    Attributes:
      config: the config.
      devices: the devices it trains on, of all processes.
      dataset: all items, with the classes that training sees.
      split: the role of each item.
      signature: what networks must know about the data.
      method: the method to train.
      judge: of synthetic images; None for none.
      metrics: of the user's own, by name; see `dsh_jax.metrics`.
      items: what the ids stand for, with all classes; None for data that does not change.
    """

    config: ConfigDict
    devices: Devices
    dataset: Dataset
    split: Split
    signature: Signature
    method: Method
    judge: Encoder | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    items: KnownItems | None = None

    @property
    def local_devices(self) -> Devices:
        """Those of the devices that belong to this process."""
        return local(self.devices)


def find_recipe(config: ConfigDict, methods: Mapping[str, Recipe] = METHODS) -> Recipe:
    """Checks a config's fields and returns the recipe of the method that `config.method` names.

    Raises:
      UserError: no such method, a field that is missing or has an invalid value, or one that no
        method reads.
    """
    name = fields.get(config, "method")
    if not isinstance(name, str) or name not in methods:
        raise UserError(f"method is {fields.shown(name)}; set it to one of {sorted(methods)}.")
    recipe = methods[name]
    if isinstance(data := config.get("data"), ConfigDict) and "source" in data:
        check_kind(config, loading.kind_of(data), methods)  # before fields that it would not have
    config = settled(config)
    optional = {name: rule for name, rule in {**OPTIONAL, **recipe.optional}.items()
                if fields.has(config, name)}  # fmt: skip
    fields.check(config, {**FIELDS, **optional, **recipe.network.fields, **recipe.fields})
    fields.unknown(config, _known(methods) | loading.known_fields(fields.get(config, "data")))
    return recipe


def _known(methods: Mapping[str, Recipe]) -> set[str]:
    """The fields of any method: a config may keep those of another one, but have no others."""
    known = {"method", *FIELDS, *OPTIONAL, *OPTIONS}
    for recipe in methods.values():
        known |= recipe.network.fields.keys() | recipe.fields.keys() | recipe.optional.keys()
    return known


def check_data_fields(config: ConfigDict) -> None:
    """Checks the fields `data` of a config.

    Raises:
      UserError: a field is missing or has an invalid value.
    """
    fields.check(config, loading.fields_of(fields.get(config, "data")))


def build_method(config: ConfigDict, signature: Signature) -> Method:
    """The method that `config.method` names, for data with this signature.

    Raises:
      UserError: no such method, an invalid field, or data of another kind.
    """
    config = settled(config)
    recipe = find_recipe(config)
    check_kind(config, signature.inputs.kind)
    with as_user_error():
        return recipe.build(config, signature)


def check_kind(
    config: ConfigDict, kind: str, methods: Mapping[str, Recipe] = METHODS
) -> None:
    """Refuses items of a kind that the method does not take.

    Args:
      config: of an experiment; its method is one of `methods`.
      kind: of the items; empty if it is not known yet.
      methods: by name.

    Raises:
      UserError: names the methods that take them.
    """
    kinds = methods[config.method].network.kinds
    if kind and kind not in kinds:
        others = [name for name, recipe in methods.items() if kind in recipe.network.kinds]
        raise UserError(
            f"method {config.method!r} takes {' or '.join(kinds)}, but data.source "
            f"{config.data.source!r} gives {kind}; set method to {' or '.join(map(repr, others))}, "
            "or data.source to another one."
        )


def signature_of(config: ConfigDict, dataset: Dataset) -> Signature:
    """What networks must know about a data set.

    Raises:
      UserError: `loss.labels` is unknown, or asks for one label per item where there are several.
    """
    labels = config.get("loss", {}).get("labels", "auto")
    if labels == "auto":
        labels = "multi" if dataset.multi_label else "single"
    if labels not in ("single", "multi"):
        raise UserError(f"loss.labels is {labels!r}; set it to 'single', 'multi' or 'auto'.")
    if labels == "single" and dataset.multi_label:
        raise UserError(
            f"loss.labels is {labels!r}, but {dataset.name} has items with several labels; set it "
            "to 'multi' or 'auto'."
        )
    with as_user_error():
        return Signature(_inputs_of(config, dataset), labels, dataset.class_names)


def _inputs_of(config: ConfigDict, dataset: Dataset) -> Inputs:
    """What an item is, for the network that the config names."""
    settings = pretrained.of_config(config) if "representation" in config else None
    if settings is None or not isinstance(dataset.inputs, ImageInputs):
        return dataset.inputs
    mean, std = BACKBONES[settings.name].normalisation
    return replace(dataset.inputs, mean=mean, std=std)


def load_data(
    config: ConfigDict, workdir: Path | None, inputs: Inputs | None = None
) -> tuple[Dataset, Split]:
    """Reads the data, and draws its split.

    Args:
      config: of an experiment.
      workdir: if it holds a split, it must be the one of this config; what was fitted to its data,
        a vocabulary or a normalisation, is used. None where nothing has been trained yet.
      inputs: those of an encoder; None for those of the workdir, or new ones.

    Returns:
      All items with all classes, and the split. Training sees `unseen.of_seen_classes` of them.

    Raises:
      UserError: the data is missing, damaged or not the data that the workdir was trained on.
    """
    config = settled(config)
    check_data_fields(config)
    dataset = loading.load_dataset(config.data)
    saved = workdir / "split.json" if workdir and (workdir / "split.json").exists() else None
    dataset, split = _divide(config, dataset, saved)
    if isinstance(dataset, Documents | VectorDataset):
        if inputs is None and workdir and (workdir / SIGNATURE).exists():
            inputs = load_description(workdir).signature.inputs
        dataset = loading.fit_inputs(config.data, dataset, split, inputs)
    return dataset, split


def _divide(config: ConfigDict, dataset: Dataset, saved: Path | None) -> tuple[Dataset, Split]:
    """The split in a workdir, and the data with the ids that it has there; or a new split."""
    file = saved or (Path(config.data.split_file) if config.data.split_file else None)
    known = file and file.with_name(known_items.FILE)
    if file and known and known.exists() and dataset.contents:
        dataset, split = changes.follow(dataset, known_items.load(known), load_split(file))
        if not saved:
            drawing.check_unseen(config.data, split)
        return dataset, split
    if saved is None:
        return dataset, drawing.draw_split(config.data, dataset)
    split = load_split(saved)
    if config.data.split_file and not dataset.contents:  # the file itself may be gone by now
        return dataset, load_split_for(dataset, saved)
    # A user's own data has a checksum of all of it as its version, which is enough.
    same = is_of(split, dataset)
    if same and not dataset.contents:
        same = drawing.draw_split(config.data, dataset).checksum == split.checksum
    if not same:
        raise UserError(
            f"{saved} is not the split that this config draws from {dataset.name} "
            f"{dataset.version}; choose another --workdir."
        )
    return dataset, split


def check_validation(split: Split) -> None:
    """Refuses a split without validation items.

    Raises:
      UserError: there are none.
    """
    if not len(split.validation):
        raise UserError(
            "data.validation_per_class is 0, so no checkpoint can be chosen; set it to 2 or more."
        )


def equip(
    config: ConfigDict, method: Method, signature: Signature
) -> tuple[Devices, Encoder | None]:
    """The devices of a run, and the judge of its synthetic images if its config names one.

    Raises:
      UserError: a batch cannot be shared out among the devices, or the judge does not fit.
    """
    devices = pick_training_devices(config.num_devices, method.shared)
    num_local = len(local(devices))
    pick_devices(num_local, {"encode_batch_size": config.encode_batch_size})
    if method.synthesize is None or not config.get("judge"):
        return devices, None
    return devices, load_judge(config.judge, signature, num_devices=num_local)


def prepare(config: ConfigDict, workdir: Path | None) -> Experiment:
    """Checks everything and reads the data; writes nothing.

    Args:
      config: of an experiment.
      workdir: see `load_data`.

    Raises:
      UserError: a mistake that the user must fix.
    """
    config = settled(config)
    find_recipe(config)  # before the data is read, which may take long
    if workdir is None:  # a checkpoint has the weights already
        pretrained.check(config)
    own = metrics.find(config.get("metrics", ()))
    dataset, split = load_data(config, workdir)
    check_validation(split)
    items = known_items.known_items(dataset) if dataset.contents else None
    dataset = of_seen_classes(dataset, split.unseen)
    signature = signature_of(config, dataset)
    method = build_method(config, signature)
    for stage in method.stages:
        check_split(dataset, split, stage.batch)
    devices, judge = equip(config, method, signature)
    calls.steps_per_call(config, devices)
    calls.resident_items(config, dataset, devices)
    metrics.try_on(
        own, num_bits=config.num_bits, classes=signature.num_classes,
        multi_label=dataset.multi_label,
    )  # fmt: skip
    return Experiment(config, devices, dataset, split, signature, method, judge, own, items)
