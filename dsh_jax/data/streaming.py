"""Batches made ahead by several threads, in an order that (seed, step) alone decide.

Grain runs the threads and keeps the order. The shuffling is ours: Grain's own would give streamed
images another order than those in memory, and seeds n and n + 1 the same epochs, one apart.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from dsh_jax.data.batches import batch_ids
from dsh_jax.errors import UserError

T = TypeVar("T")


def stream(make: Callable[[int], T], steps: range, *, workers: int = 2) -> Iterator[T]:
    """Yields make(step) for each step, in order, made by `workers` threads ahead of time.

    As `batches.prefetch` does with one thread. An exception in `make` is raised here, in its turn,
    and nothing starts before the first `next`.
    """
    import grain  # slow to import, and only needed here

    made = grain.MapDataset.range(steps.start, steps.stop, steps.step).map(make)
    options = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=2 * workers)
    iterator = iter(made.to_iter_dataset(options))
    try:
        yield from iterator
    finally:
        iterator.close()


def stream_batches(
    images: Any,
    ids: np.ndarray,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    shard: tuple[int, int] = (0, 1),
    workers: int = 2,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of shuffled epochs without end; a run goes on at any step, and nothing is saved.

    Args:
      images: `[n, ...]`, an array or `CachedImages`.
      ids: the rows of it to draw from, `[m]`; each comes once an epoch.
      batch_size: over all shards.
      seed: of the order.
      start_step: the number of the first batch, from 0.
      shard: (index, count): which of how many equal parts of every batch to yield.
      workers: threads that make batches.

    Yields:
      ids `[batch_size / count]`, and their images `[batch_size / count, ...]`.

    Raises:
      UserError: the shards do not divide the batch.
    """
    index, count = shard
    size, rest = divmod(batch_size, count)
    if rest:
        raise UserError(f"batch_size is {batch_size}: set it to a multiple of {count}, the shards.")

    def make(step: int) -> tuple[np.ndarray, np.ndarray]:
        batch = batch_ids(ids, step, batch_size, seed=seed, stream="stream")
        part = batch[index * size : (index + 1) * size]
        return part, images[part]

    return stream(make, range(start_step, sys.maxsize), workers=workers)
