"""What the frozen part of a network makes of every image, computed once."""

import hashlib
from dataclasses import dataclass, fields, replace
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from dsh_jax import checkpoint_records as records
from dsh_jax.data.images.dataset import ImageDataset
from dsh_jax.devices import compile_encode, replicate
from dsh_jax.errors import UserError
from dsh_jax.files import replacing
from dsh_jax.forward import run_dataset
from dsh_jax.methods.base import State
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
    folder = experiment.config.data.get("cache_dir")
    if folder is None:
        computed, where = np.zeros(shape, np.float32), "kept in memory"
        _compute(experiment, state, computed)
    else:
        path = Path(folder).expanduser() / f"{dataset.name}-{_key(dataset, state, shape)}.npy"
        if not path.exists():
            try:
                _write(path, experiment, state, shape)
            except OSError as error:
                raise UserError(
                    f"The features {path} cannot be written ({error.strerror or error}): set "
                    "data.cache_dir to a writable folder with enough space."
                ) from error
        computed, where = np.load(path, mmap_mode="r"), str(path)
    known = {f.name: getattr(dataset, f.name) for f in fields(ImageDataset)}
    with_them = FeatureDataset(**known, computed=computed)
    of = "image and mirror image" if shape[1] == 2 else "image"
    return replace(experiment, dataset=with_them), [
        f"features    {shape[2]:,} of each {of}, computed once as the network is frozen: {where}",
        "augment     off, but for mirror images where augment.flip is set",
    ]


def _key(dataset: ImageDataset, state: State, shape: tuple[int, ...]) -> str:
    """Changes with the images, with the frozen part and with the number of views."""
    backbone = {
        name: collection["representation"].get("backbone", {})
        for name, collection in (("params", state.params), ("batch_stats", state.batch_stats))
    }
    digests = [records.digest(leaf) for leaf in jax.tree.leaves(backbone)]
    made_of = [dataset.version, *map(str, dataset.images.shape), *map(str, shape), *digests]
    return hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:12]


def _write(
    path: Path, experiment: Experiment, state: State, shape: tuple[int, ...]
) -> None:
    with replacing(path) as beside:
        array = np.lib.format.open_memmap(beside, "w+", np.float32, shape)
        _compute(experiment, state, array)
        array.flush()


def _compute(experiment: Experiment, state: State, into: np.ndarray) -> None:
    """Fills `[n, views, features]`; rows of items that are gone stay zero."""
    precompute, devices = experiment.method.precompute, experiment.devices
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
