"""Batches as a pure function of (seed, step), so that a run resumes at any step at once."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.splits.split import Split, is_of
from dsh_jax.data.targets import Targets
from dsh_jax.errors import UserError
from dsh_jax.rng import stream_rng
from dsh_jax.share import WHOLE, Share

T = TypeVar("T")


@functools.lru_cache(maxsize=8)  # two streams, and two epochs of each if a batch straddles them
def epoch_order(n: int, *, seed: int, epoch: int, stream: str) -> np.ndarray:
    """The order of one epoch: a permutation of 0..n-1, int64 [n], read-only."""
    order = stream_rng(seed, f"epoch/{stream}", epoch).permutation(n)
    order.setflags(write=False)
    return order


def batch_ids(
    ids: np.ndarray, step: int, batch_size: int, *, seed: int, stream: str
) -> np.ndarray:
    """The ids of batch number `step` (from 0): [batch_size].

    The batches are consecutive pieces of an endless sequence of epochs, each a permutation of
    `ids`; a batch may straddle the end of an epoch, and may be larger than one.

    Raises:
      ValueError: there are no ids, or `step` or `batch_size` is out of range.
    """
    if len(ids) == 0 or step < 0 or batch_size < 1:
        raise ValueError(f"no batch: {len(ids)} ids, step {step}, batch size {batch_size}")
    pieces = []
    position, end = step * batch_size, (step + 1) * batch_size
    while position < end:
        epoch, first = divmod(position, len(ids))
        last = min(len(ids), first + end - position)
        order = epoch_order(len(ids), seed=seed, epoch=epoch, stream=stream)
        pieces.append(ids[order[first:last]])
        position += last - first
    return np.concatenate(pieces)


@dataclass(frozen=True)
class BatchSpec:
    """The content of a batch: B labeled items, U unlabeled ones, and real triplets or not.

    With `all_as_unlabeled` the U items are drawn from all training items, labeled ones among them.
    `unlabeled_field` is the config field that sets U, for errors.
    """

    batch_size: int
    unlabeled_batch_size: int
    real_triplets: bool
    seed: int
    all_as_unlabeled: bool = False
    unlabeled_field: str = "unlabeled_batch_size"

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"batch_size is {self.batch_size}: it must be 1 or more.")
        if self.unlabeled_batch_size < 0:
            raise UserError(
                f"unlabeled_batch_size is {self.unlabeled_batch_size}: it must be 0 or more."
            )
        if self.seed < 0:
            raise UserError(f"seed is {self.seed}: it must be 0 or more.")


def make_batch(
    dataset: Dataset,
    split: Split,
    spec: BatchSpec,
    step: int,
    targets: Targets | None = None,
    share: Share = WHOLE,
    take: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None,
) -> dict[str, np.ndarray]:
    """The batch of a step, or a share of it.

    Args:
      dataset, split: the items, and which of them are labeled or unlabeled.
      spec: what a batch holds.
      step: its number, from 0.
      targets: of the training items, if there are any.
      share: which part of the batch.
      take: ids -> what stands for their items; None for `dataset.take`.

    Returns:
      These arrays; of a share only its rows, as they are in the whole batch.
      The result of `dataset.take` for labeled items, for images uint8
        [B, height, width, channels] as `image`; and
      label: float32 [B, classes], one-hot or multi-hot.
      id: int32 [B], rows of `dataset`.
      position: int32 [B], 0..B-1: the place in the global batch, whatever the number of devices;
        a sample's random key depends on it.
      target, unlabeled_target: float32 [B, num_bits] and [U, num_bits], the targets of these items;
        if `targets` is given.
      unlabeled_image, unlabeled_position: of unlabeled items, [U, ...] and int32 [U], B..B+U-1;
        if U > 0.
      positive_image, positive_label: another labeled image that shares a label, or the anchor
        itself if there is none; with real triplets.
      negative_image, negative_label: a labeled image that shares no label; with real triplets. If
        images have one label, all other classes are equally likely. If they may have several, all
        images that share the fewest labels are: none, unless the anchor shares one with every other
        image.

    Raises:
      UserError: the split is for another data set, or lacks the items that `spec` asks for.
    """
    size, unlabeled_size = spec.batch_size, spec.unlabeled_batch_size
    take = take or dataset.take
    check_split(dataset, split, spec)
    whole = batch_ids(split.labeled, step, size, seed=spec.seed, stream="labeled")
    ids = share.of(whole)
    batch = take(ids) | {
        "label": dataset.multi_hot(ids),
        "id": ids.astype(np.int32),
        "position": share.of(np.arange(size, dtype=np.int32)),
    }
    if targets is not None:
        batch["target"] = targets.of(ids).astype(np.float32)
    if unlabeled_size:
        pool = split.training if spec.all_as_unlabeled else split.unlabeled
        unlabeled = share.of(
            batch_ids(pool, step, unlabeled_size, seed=spec.seed, stream="unlabeled")
        )
        batch |= _prefixed("unlabeled", take(unlabeled))
        if targets is not None:
            batch["unlabeled_target"] = targets.of(unlabeled).astype(np.float32)
        positions = np.arange(size, size + unlabeled_size, dtype=np.int32)
        batch["unlabeled_position"] = share.of(positions)
    if spec.real_triplets:
        rng = stream_rng(spec.seed, "triplets", step)
        draw_triplets = _multi_hot_triplet_ids if dataset.multi_label else _triplet_ids
        drawn = draw_triplets(whole, split.labeled, dataset.labels, rng)
        for role, chosen in zip(("positive", "negative"), map(share.of, drawn), strict=True):
            batch |= _prefixed(role, take(chosen) | {"label": dataset.multi_hot(chosen)})
    return batch


def _prefixed(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{prefix}_{name}": array for name, array in arrays.items()}


def check_split(dataset: Dataset, split: Split, spec: BatchSpec) -> None:
    """Refuses a split that cannot fill the batches.

    Raises:
      UserError: it is for another data set, or lacks labeled or unlabeled items.
    """
    if not is_of(split, dataset):
        raise UserError(
            f"The split was drawn from {split.dataset} {split.version}, but the data set is"
            f" {dataset.name} {dataset.version}: draw a split from this one."
        )
    if len(split.labeled) == 0:
        raise UserError(f"Split {split.protocol} of {split.dataset} has no labeled items.")
    if spec.unlabeled_batch_size and not spec.all_as_unlabeled and not len(split.unlabeled):
        raise UserError(
            f"Split {split.protocol} of {split.dataset} has no unlabeled items: set"
            f" {spec.unlabeled_field} to 0, or label fewer items."
        )


def _triplet_ids(
    anchors: np.ndarray, labeled: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws for each anchor [B] (all among the sorted `labeled`) a positive and a negative [B]."""
    classes, class_of, sizes = np.unique(
        labels[labeled], return_inverse=True, return_counts=True
    )
    _check_classes(len(classes))
    starts = np.cumsum(sizes) - sizes
    # int16 takes a radix sort, several times faster than a comparison sort.
    by_class = np.argsort(class_of.astype(np.int16), kind="stable")
    place = np.empty_like(by_class)  # the index of each labeled image in `by_class`
    place[by_class] = np.arange(len(by_class))

    index = np.searchsorted(labeled, anchors)
    own = class_of[index]
    rank = place[index] - starts[own]  # the anchor's place within its class
    # A uniform draw from all others: one fewer to choose from, and the anchor is skipped.
    other = rng.integers(0, np.maximum(sizes[own] - 1, 1))
    other = np.where(sizes[own] > 1, other + (other >= rank), 0)
    another = rng.integers(0, len(classes) - 1, size=len(anchors))
    another += another >= own
    item = rng.integers(0, sizes[another])
    return labeled[by_class[starts[own] + other]], labeled[by_class[starts[another] + item]]


def _multi_hot_triplet_ids(
    anchors: np.ndarray, labeled: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """As `_triplet_ids`, with multi-hot labels."""
    hot = labels[labeled].astype(np.float32)  # for a fast matrix product
    _check_classes(int(hot.any(axis=0).sum()))
    index = np.searchsorted(labeled, anchors)
    shared = hot[index] @ hot.T  # labels in common, [B, n]
    is_self = index[:, None] == np.arange(len(labeled))
    positive = (shared > 0) & ~is_self
    positive |= is_self & ~positive.any(axis=1, keepdims=True)
    shared[is_self] = np.inf
    # No label in common if there is such an image; otherwise the fewest.
    negative = shared == shared.min(axis=1, keepdims=True)
    return labeled[_draw_one(positive, rng)], labeled[_draw_one(negative, rng)]


def _draw_one(allowed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each row of `allowed` [B, n], the index of a true entry, all equally likely, [B]."""
    rank = rng.integers(0, allowed.sum(axis=1))
    return (allowed.cumsum(axis=1, dtype=np.int32) > rank[:, None]).argmax(axis=1)


def _check_classes(count: int) -> None:
    if count < 2:
        raise UserError("Triplets need labeled items of two classes or more: there is only one.")


def padded_batches(ids: np.ndarray, batch_size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Cuts ids into batches [batch_size], each with its count of real rows.

    The last batch is padded with its last id: all batches have one shape, so encoding compiles
    once.
    """
    if batch_size < 1:
        raise ValueError(f"batch size {batch_size} should be 1 or more")
    for start in range(0, len(ids), batch_size):
        batch = ids[start : start + batch_size]
        yield np.pad(batch, (0, batch_size - len(batch)), mode="edge"), len(batch)
