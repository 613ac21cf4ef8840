"""What the frozen part of a network makes of every image, computed once."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from dsh_jax import checkpoint_records as records
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.images.dataset import ImageDataset
from dsh_jax.devices import compile_encode, replicate
from dsh_jax.errors import UserError
from dsh_jax.files import replacing
from dsh_jax.forward import run_dataset
from dsh_jax.methods.base import State, variables
from dsh_jax.methods.preparation import num_views
from dsh_jax.pretrained import settings as pretrained
from dsh_jax.training.experiment import Experiment

_PER_DEVICE = 32  # images at a time: at 224 pixels a network's maps take 10 MB for each
_AT_ONCE = 2048  # images between writes to the file


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureDataset(ImageDataset):
    """Images that networks take as what the frozen part of one makes of them.

    Attributes:
      computed: float32 `[n, views, features]`: of the image, and perhaps of its mirror image.
    """

    computed: np.ndarray

    def take(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """`image`: float32 `[m, views, features]`."""
        return {"image": np.asarray(self.computed[ids])}


def with_features(experiment: Experiment, state: State) -> tuple[Experiment, list[str]]:
    """The experiment with features for images, where its method has a frozen part.

    They are kept beside the images, in a file that is made once for these images and this network.
    Built-in images have no such folder; their features are kept in memory.

    Args:
      experiment: of any method.
      state: before the first of the coming steps.

    Returns:
      The experiment, and lines about what was done.

    Raises:
      UserError: the file cannot be written.
    """
    precompute, dataset = experiment.method.precompute, experiment.dataset
    if precompute is None or not isinstance(dataset, ImageDataset):
        return experiment, []
    like = jax.eval_shape(precompute, state, {"image": dataset.images[:1]})
    shape = (len(dataset), *like.shape[1:])
    path = _path(experiment.config, dataset, variables(state, "representation"), shape)
    if path is None:
        computed, where = np.zeros(shape, np.float32), "kept in memory"
        _compute(experiment, state, computed)
    else:
        found = _open(path, shape)
        if found is None:
            try:
                _write(path, experiment, state, shape)
            except OSError as error:
                raise UserError(
                    f"The features {path} cannot be written ({error.strerror or error}): set "
                    "data.cache_dir to a writable folder with enough space."
                ) from error
            found = np.load(path, mmap_mode="r")
        computed, where = found, str(path)
    of = "image and mirror image" if shape[1] == 2 else "image"
    return replace(experiment, dataset=_joined(dataset, computed)), [
        f"features    {shape[2]:,} of each {of}, computed once as the network is frozen: {where}",
        "augment     off, but for mirror images where augment.flip is set",
    ]


def with_known_features(
    config: ConfigDict, dataset: Dataset, kept: Mapping[str, Any]
) -> Dataset:
    """The data set with the features that training has kept in a file; as it is without any.

    Args:
      config: of the training.
      dataset: its items.
      kept: player -> collections, of the trained network.
    """
    settings = pretrained.of_config(config) if "representation" in config else None
    if settings is None or not settings.frozen or not isinstance(dataset, ImageDataset):
        return dataset
    representation = kept["representation"]
    size = representation["batch_stats"]["standardised"]["mean"].shape[0]
    shape = (len(dataset), num_views(config), size)
    path = _path(config, dataset, representation, shape)
    found = None if path is None else _open(path, shape)
    return dataset if found is None else _joined(dataset, found)


def _open(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The features in a file; None if there are none, or they are cut off."""
    try:
        found = np.load(path, mmap_mode="r")
    except (OSError, ValueError):
        return None
    return found if found.shape == shape and found.dtype == np.float32 else None


def _joined(dataset: ImageDataset, computed: np.ndarray) -> FeatureDataset:
    known = {f.name: getattr(dataset, f.name) for f in fields(ImageDataset)}
    return FeatureDataset(**known, computed=computed)


def _path(
    config: ConfigDict, dataset: ImageDataset, kept: Mapping[str, Any], shape: tuple[int, ...]
) -> Path | None:
    """The file of these images, in this order, and this network; None where there is no folder."""
    folder = config.data.get("cache_dir")
    if folder is None:
        return None
    backbone = {name: tree["backbone"] for name, tree in kept.items() if "backbone" in tree}
    digests = [records.digest(leaf) for leaf in jax.tree.leaves(backbone)]
    # Of images that have come and gone since training, the version is still the same.
    made_of = [dataset.version, *dataset.contents, *map(str, dataset.images.shape),
               *map(str, shape), *digests]  # fmt: skip
    key = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:12]
    return Path(folder).expanduser() / f"{dataset.name}-{key}.npy"


def _write(
    path: Path, experiment: Experiment, state: State, shape: tuple[int, ...]
) -> None:
    with replacing(path) as beside:
        array = np.lib.format.open_memmap(beside, "w+", np.float32, shape)
        _compute(experiment, state, array)
        array.flush()


def _compute(experiment: Experiment, state: State, into: np.ndarray) -> None:
    """Fills `[n, views, features]`; rows of items that are gone stay zero."""
    precompute, devices = experiment.method.precompute, experiment.local_devices
    assert precompute is not None
    compiled = compile_encode(lambda kept, inputs: _flat(precompute(kept, inputs)), devices)
    stacked = replicate(state, devices)
    present = experiment.dataset.present
    with tqdm(total=len(present), desc="features", unit="image", mininterval=0.5) as bar:
        for first in range(0, len(present), _AT_ONCE):
            ids = present[first : first + _AT_ONCE]
            rows = run_dataset(
                compiled, stacked, experiment.dataset, ids, finish=np.asarray,
                batch_size=_PER_DEVICE * len(devices), devices=devices,
            )  # fmt: skip
            into[ids] = rows.reshape(len(ids), *into.shape[1:])
            bar.update(len(ids))


def _flat(computed: jax.Array) -> jax.Array:
    return computed.reshape(len(computed), -1)
