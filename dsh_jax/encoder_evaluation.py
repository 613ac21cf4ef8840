"""Evaluates an encoder file on the split that a config describes, without a workdir."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax import metrics as own_metrics
from dsh_jax.baselines import FEATURES, OF_NETWORK
from dsh_jax.data import loading
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.images.loading import image_shape_of
from dsh_jax.data.signature import WordInputs
from dsh_jax.data.splits.split import Split
from dsh_jax.data.splits.unseen import of_seen_classes
from dsh_jax.encoder import Encoder, load_encoder
from dsh_jax.errors import UserError
from dsh_jax.evaluation_codes import HEADS, check_network_has, trained_codes
from dsh_jax.evaluation_config import move_data
from dsh_jax.fitting import classes_misfit, inputs_misfit
from dsh_jax.measuring import measure
from dsh_jax.retrieval.conventions import Conventions
from dsh_jax.training.automatic import settled
from dsh_jax.training.experiment import FIELDS, check_data_fields, load_data

BASELINES = ("", *OF_NETWORK)


def evaluate_encoder(
    path: Path,
    config: ConfigDict,
    *,
    data_dir: str = "",
    baseline: str = "",
    num_bits: int | None = None,
    conventions: str | Conventions = "expected",
    folder: Path | None = None,
    report: bool = False,
    image_format: str = "png",
    metrics: Sequence[str] | None = None,
    run: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Encodes queries and database with an encoder file, and computes metrics.

    Args:
      path: of a file that `Encoder.save` wrote.
      config: its fields `data` describe data and split; of the others only `num_devices` counts,
        and views (`mirrored`, `shifted`) must be the encoder's.
      data_dir: where the data is, if not where the config says.
      baseline: empty for the codes; "classifier" for the predicted label as a code,
        "graded" for its probabilities, "features_itq" for ITQ of its features.
      num_bits: length of the codes of "features_itq"; None for that of the encoder's own.
      conventions: of the metrics, as for `retrieval.evaluate`.
      folder: gets the files that `evaluate_workdir` writes, among them the encoder of "graded" or
        "features_itq"; None to write nothing.
      report: also write a page with pictures into the folder.
      image_format: of the pictures' files, "png", "pdf" or "svg".
      metrics: of your own, each as "module:function"; None for the config's.
      run: command, machine and versions of this evaluation, as `workdir.describe_run` gives them.

    Returns:
      A result, as `evaluate_workdir` returns it, as far as the file knows: without `checkpoint`,
      `step` and `train_seconds`, with an empty `run`, and with `seed` None where the file does not
      say what it was trained on. `measured_by`: the argument `run`. `encoder`: the fingerprint;
      `trained_on_this_split`: True, or None where the file does not say.

    Raises:
      UserError: a file or a config that is missing, damaged or invalid; data that does not fit the
        encoder; or a split that is not the one that it was trained on, where queries may be
        images that it was trained on.
    """
    if baseline not in BASELINES:
        raise UserError(
            f"--baseline {baseline} takes no encoder; give --workdir, or leave --baseline out."
        )
    if num_bits is not None and baseline not in FEATURES:
        raise UserError(
            "--num_bits is for --baseline features_itq, and the encoder's own codes have one "
            "length; leave it out."
        )
    if path.is_dir():
        raise UserError(f"{path} is a folder; give eval.py --workdir {path}, or an encoder file.")
    if folder is not None and (folder / "config.json").exists():
        raise UserError(f"{folder} is a workdir with results of its own; choose another --output.")
    config = settled(config).copy_and_resolve_references()
    fields.check(config, {"num_devices": FIELDS["num_devices"]})
    check_data_fields(config)
    if metrics is None:
        own = own_metrics.find(config.get("metrics", ()))
    else:
        own = own_metrics.find(metrics, "--metrics")
    move_data(config, data_dir)
    encoder = load_encoder(path, num_devices=min(config.num_devices, jax.local_device_count()))
    _check_source(path, encoder, config.data)
    _check_views(path, encoder, config)
    check_network_has(encoder, baseline)  # before the data is read, which may take long
    dataset, split = load_data(config, None, encoder.signature.inputs)
    _check_items(path, encoder, dataset, split)
    _check_split(path, encoder, split)
    about: dict[str, Any] = {
        "method": baseline or encoder.method,
        "seed": encoder.origin and encoder.origin.seed,
        "codes": baseline or encoder.codes,
        "encoder": encoder.fingerprint,
        "trained_on_this_split": True if encoder.origin else None,
        "run": {},  # the file does not say how it was trained
        **({} if run is None else {"measured_by": dict(run)}),
    }
    if baseline in HEADS:
        options = {"num_bits": num_bits} if baseline in FEATURES else {}
        encoder = HEADS[baseline](encoder, dataset, split, **options)
        if folder is not None:
            encoder.save(folder / f"encoder_{baseline}.safetensors")
    codes = trained_codes(encoder, dataset, split, as_labels=baseline == "classifier")
    return measure(
        config, dataset, split, codes, about,
        num_bits=encoder.num_bits, baseline=baseline, conventions=conventions, folder=folder,
        report=report, image_format=image_format, metrics=own,
    )  # fmt: skip


def _check_source(path: Path, encoder: Encoder, data: ConfigDict) -> None:
    """Refuses what does not fit, as far as the config tells before the data is read."""
    kind, shape = loading.kind_of(data), image_shape_of(data)
    source = f"data.source {data.source!r}"
    _refuse(path, inputs_misfit(encoder.signature.inputs, kind, shape, source))


def _check_views(path: Path, encoder: Encoder, config: ConfigDict) -> None:
    """Refuses other views of images than the config has, because results name its fields."""
    for name, value in encoder.views.items():
        if (wanted := config.get(name, value)) != value:
            raise UserError(
                f"{path} encodes with {name}={value}, but the config has {wanted}; give "
                f"--config.{name}={value}, or a file of encoder.with_views(...)."
            )


def _check_items(path: Path, encoder: Encoder, dataset: Dataset, split: Split) -> None:
    """Refuses items of another kind, images of another shape, and other classes."""
    found, name = dataset.inputs, dataset.name
    shape = None if isinstance(found, WordInputs) else found.shape
    _refuse(path, inputs_misfit(encoder.signature.inputs, found.kind, shape, name))
    names = of_seen_classes(dataset, split.unseen).class_names
    source = f"{name} in training" if split.unseen else name
    _refuse(path, classes_misfit(encoder.class_names, names, source))


def _refuse(path: Path, misfit: str) -> None:
    if misfit:
        raise UserError(f"{path} {misfit}; give the config that it was trained with.")


def _check_split(path: Path, encoder: Encoder, split: Split) -> None:
    """Refuses another split than that of the training; an encoder may not say which it was."""
    origin = encoder.origin
    if origin is not None and origin.split_checksum != split.checksum:
        raise UserError(
            f"{path} was trained on another split, {origin.protocol} of {origin.dataset} "
            f"{origin.dataset_version} with data.split_seed={origin.split_seed} (checksum "
            f"{origin.split_checksum[:8]}), than this one, {split.protocol} of {split.dataset} "
            f"{split.version} with {split.seed} ({split.checksum[:8]}), so queries may be images "
            "that it has seen; give the config and overrides of its training, or its split as "
            "data.split_file."
        )
