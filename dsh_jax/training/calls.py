"""Calls of the devices: one step or several, on batches that hold items or only their rows.

Where the items of a data set lie on the devices, a batch is a few kilobytes: the rows of its items,
which the step looks up. Several steps in one call leave the devices no gap in which they wait for
the host. Neither changes what is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from ml_collections import ConfigDict

from dsh_jax import hosts
from dsh_jax.data.batches import make_batch
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.images.dataset import ImageDataset
from dsh_jax.data.targets import Targets
from dsh_jax.devices import (
    Batch,
    Devices,
    compile_step,
    compile_steps,
    replicate,
    shard,
    shard_steps,
)
from dsh_jax.errors import UserError
from dsh_jax.methods.base import Metrics, Stage, State

if TYPE_CHECKING:
    from dsh_jax.training.experiment import Experiment

WHERE = ("auto", "yes", "no")
"""Whether items lie on the devices; auto: those of GPUs and TPUs, if they fit."""
MOST_BYTES = 4 * 1024**3  # of items on a device
MOST_STEPS = 10  # in a call, if the number is automatic
_ENTRY = "image"


def resident_items(config: ConfigDict, dataset: Dataset, devices: Devices) -> np.ndarray | None:
    """The items to be put on each device, `[n, ...]`; None where batches hold the items.

    Raises:
      UserError: they should be there, but are no images in memory.
    """
    where = config.get("items_on_device", "auto")
    images = dataset.images if isinstance(dataset, ImageDataset) else None
    if where == "no":
        return None
    if where == "yes":
        if not isinstance(images, np.ndarray):
            raise UserError(
                f"items_on_device is 'yes', but {dataset.name} is not a set of images in memory; "
                "set it to 'auto'."
            )
        return images
    fits = isinstance(images, np.ndarray) and images.nbytes <= MOST_BYTES
    return images if fits and devices[0].platform != "cpu" else None


def steps_per_call(config: ConfigDict, devices: Devices) -> int:
    """How many steps a call takes.

    Raises:
      UserError: a line of metrics or a validation would fall within a call.
    """
    asked = config.get("steps_per_call", 1)
    between = math.gcd(config.log_every_steps, config.eval_every_steps)
    if asked and between % asked:
        raise UserError(
            f"steps_per_call is {asked}, which does not divide log_every_steps "
            f"{config.log_every_steps} and eval_every_steps {config.eval_every_steps}; set it to "
            "a number that divides both, or to 0."
        )
    if config.get("profile", False):
        return 1
    if asked or devices[0].platform == "cpu":  # where loops are slow, and a step takes long
        return asked or 1
    return max(n for n in range(1, MOST_STEPS + 1) if between % n == 0)


def grouped(first: int, end: int, size: int) -> Iterator[range]:
    """The steps from `first` to before `end`, `size` at a time.

    A group begins at a multiple of its size; before the first such step, and where too few are
    left, steps are alone, so that there are two compiled programs and no more.
    """
    while first < end:
        whole = first % size == 0 and first + size <= end
        last = first + (size if whole else 1)
        yield range(first, last)
        first = last


@dataclass(frozen=True)
class Calls:
    """The compiled calls of a stage.

    Attributes:
      single: state, and a batch `[devices, batch / devices, ...]` -> state, metrics `[devices]`.
      several: state, and batches `[devices, steps, batch / devices, ...]` -> state, metrics
        `[devices, steps]`.
    """

    single: Callable[[State, Batch], tuple[State, Metrics]]
    several: Callable[[State, Batch], tuple[State, Metrics]]

    def __call__(self, state: State, group: range, batch: Batch) -> tuple[State, Metrics]:
        """Takes the steps of a group."""
        return (self.single if len(group) == 1 else self.several)(state, batch)


@dataclass(frozen=True)
class WithItems:
    """A compiled call whose last argument is the items."""

    compiled: Any
    items: jax.Array

    def __call__(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        """Takes the steps of a call."""
        return self.compiled(state, batch, self.items)

    def lower(self, state: State, batch: Batch) -> Any:
        """The lowered program, for a profile."""
        return self.compiled.lower(state, batch, self.items)


def looked_up(items: jax.Array, batch: Batch) -> dict[str, jax.Array]:
    """A batch with items in place of their rows.

    Args:
      items: of the whole data set, `[n, ...]`.
      batch: with rows int32 `[m]` under the names of items.
    """
    return {name: items[x] if is_item(name) else x for name, x in batch.items()}


def is_item(name: str) -> bool:
    """Whether an entry of a batch holds items: `image`, `unlabeled_image`, `positive_image`..."""
    return name.rpartition("_")[2] == _ENTRY


def compile_calls(experiment: Experiment, stage: Stage, items: jax.Array | None) -> Calls:
    """Compiles the calls of a stage, each when it is first needed.

    Args:
      experiment, stage: what is trained.
      items: on the devices, `[devices, n, ...]`; None where batches hold them.
    """
    seed, devices = experiment.config.seed, experiment.devices
    if items is None:
        return Calls(
            compile_step(stage.step, seed, devices), compile_steps(stage.step, seed, devices)
        )
    return Calls(*(WithItems(compile_one(stage.step, seed, devices, looked_up), items)
                   for compile_one in (compile_step, compile_steps)))  # fmt: skip


def make_group(
    experiment: Experiment,
    stage: Stage,
    group: range,
    targets: Targets | None,
    *,
    by_row: bool,
) -> Batch:
    """The batches of a call, on the devices of this process.

    Args:
      experiment, stage: what is trained.
      group: the steps.
      targets: of the training items, if the method learns any.
      by_row: whether they hold rows of the data set in place of items.
    """
    take = _rows if by_row else experiment.dataset.take
    made = [
        make_batch(
            experiment.dataset, experiment.split, stage.batch, step, targets, hosts.share(), take
        )
        for step in group
    ]
    if len(group) == 1:
        return shard(made[0], experiment.local_devices)
    return shard_steps(made, experiment.local_devices)


def _rows(ids: np.ndarray) -> dict[str, np.ndarray]:
    return {_ENTRY: ids.astype(np.int32)}


def put_items(items: np.ndarray | None, devices: Devices) -> jax.Array | None:
    """The items on each of some local devices, `[devices, n, ...]`."""
    return None if items is None else replicate(items, devices)
