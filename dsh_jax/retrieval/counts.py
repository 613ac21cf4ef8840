"""Counts of database items by their distance to each query and the labels they share with it.

Ranked metrics follow from these counts (`ranking`), so no full distance matrix and no sort is
needed: queries and database are compared block by block, on all the devices given.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from dsh_jax import hamming
from dsh_jax.devices import Devices, compile_sum, replicate, shard

QUERY_BLOCK = 64
DATABASE_BLOCK = 16384
_THREADS = 4


def distance_counts(
    query_codes: np.ndarray,
    query_labels: np.ndarray,
    database_codes: np.ndarray,
    database_labels: np.ndarray,
    *,
    num_bits: int,
    devices: Devices | None = None,
    query_block: int = QUERY_BLOCK,
    database_block: int = DATABASE_BLOCK,
) -> np.ndarray:
    """Counts, for each query, the database items by distance and number of shared labels.

    Args:
      query_codes: uint8 `[n_query, ceil(num_bits / 8)]`, packed; or bits `[n_query, num_bits]`,
        {0, 1} or {-1, 1}.
      query_labels: class ids, integers `[n_query]`, or multi-hot {0, 1} `[n_query, classes]`.
      database_codes: as the queries', `[n_database, ...]`.
      database_labels: as the queries', `[n_database, ...]`.
      num_bits: bits of a code.
      devices: where to count; None for all local devices.
      query_block: most queries that a device compares at a time.
      database_block: most items that a query block is compared with at a time; memory on a device
        grows with the product of the two.

    Returns:
      int64 `[n_query, num_bits + 1, levels]`: `[q, d, l]` items are d bits away from query q and
      share l labels with it. Class ids have two levels, multi-hot labels one more than the most
      labels of a query.

    Raises:
      ValueError: codes or labels of the wrong shape or content; no queries or no items; a block
        below 1.
    """
    query = hamming.as_packed(query_codes, num_bits, "query_codes")
    database = hamming.as_packed(database_codes, num_bits, "database_codes")
    query_labels, database_labels = np.asarray(query_labels), np.asarray(database_labels)
    check_labels(query_labels, database_labels, len(query), len(database))
    if query_block < 1 or database_block < 1:
        raise ValueError(f"blocks must be at least 1, got {query_block} and {database_block}")
    levels = 2 if query_labels.ndim == 1 else 1 + int(query_labels.sum(axis=1).max())

    devices = jax.local_devices() if devices is None else devices
    # Blocks of equal size keep padding small.
    query_block = _even_block(-(-len(query) // len(devices)), query_block)
    database_block = _even_block(len(database), database_block)
    query_labels, database_labels = _for_device(query_labels, database_labels)
    items = {
        "codes": _words(database, num_bits),
        "labels": database_labels,
        "is_real": np.ones(len(database), bool),
    }
    blocks = [
        replicate({name: _padded(array[rows], database_block)
                            for name, array in items.items()}, devices)
        for rows in _slices(len(database), database_block)
    ]  # fmt: skip
    add = _compiled(levels, tuple(devices))
    chunk = query_block * len(devices)
    counts = np.empty((len(query), (num_bits + 1) * levels), np.int64)

    def count(rows: slice) -> None:
        queries = {"codes": _words(query[rows], num_bits), "labels": query_labels[rows]}
        queries = {name: _padded(array, chunk) for name, array in queries.items()}
        zeros = {"counts": np.zeros((chunk, counts.shape[1]), np.int32)}
        shared = shard(queries | zeros, devices)
        summed = shared["counts"]
        for block in blocks:
            summed = add(summed, shared["codes"], shared["labels"], block)
        counts[rows] = np.asarray(summed).reshape(chunk, -1)[: len(counts[rows])]

    # The CPU back end runs a program on one thread, so several chunks are counted at a time.
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(count, _slices(len(query), chunk)))
    return counts.reshape(len(query), num_bits + 1, levels)


def without_self(counts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts of a set searched with its own items, with each item left out of its own ranking.

    Args:
      counts: of the set against itself, `[n, num_bits + 1, levels]`.
      labels: of the set, `[n]` or `[n, classes]`.
    """
    counts = counts.copy()
    own = np.ones(len(labels), int) if labels.ndim == 1 else labels.sum(axis=1).astype(int)
    counts[np.arange(len(labels)), 0, own] -= 1
    return counts


def check_labels(query: np.ndarray, database: np.ndarray, n_query: int, n_database: int) -> None:
    """Checks that labels match each other and the codes.

    Raises:
      ValueError: they do not; the message gives all shapes.
    """
    shapes = f"labels {query.shape} and {database.shape}, codes {n_query} and {n_database}"
    if not n_query or not n_database:
        raise ValueError(f"at least one query and one database item are needed: {shapes}")
    if query.ndim not in (1, 2) or query.shape[1:] != database.shape[1:]:
        raise ValueError(f"labels must both be [n] or both [n, classes]: {shapes}")
    if len(query) != n_query or len(database) != n_database:
        raise ValueError(f"labels and codes must have the same length: {shapes}")
    for labels in (query, database):
        if query.ndim == 1 and labels.dtype.kind not in "iu":
            raise ValueError(f"class ids must be integers, got {labels.dtype}: {shapes}")
        if query.ndim == 2 and not np.all((labels == 0) | (labels == 1)):
            raise ValueError(f"multi-hot labels must hold only 0 and 1: {shapes}")


def shared_labels(query_labels: jax.Array, database_labels: jax.Array) -> jax.Array:
    """Number of labels each pair shares, int32 `[n_query, n_database]`; 0 or 1 for class ids."""
    if query_labels.ndim == 1:
        return (query_labels[:, None] == database_labels[None, :]).astype(jnp.int32)
    shared = jnp.matmul(query_labels, database_labels.T, precision="highest")
    return shared.astype(jnp.int32)


def _distances(query: jax.Array, database: jax.Array) -> jax.Array:
    """Distances int32 `[n_query, n_database]` of codes uint32 `[n, words]`."""
    distance = jnp.zeros((len(query), len(database)), jnp.int32)
    for word in range(query.shape[1]):
        different = query[:, word, None] ^ database[None, :, word]
        distance += jax.lax.population_count(different).astype(jnp.int32)
    return distance


@cache
def _compiled(levels: int, devices: tuple[jax.Device, ...]) -> Callable[..., jax.Array]:
    """`add(counts, query codes, query labels, database block) -> counts` on every device."""

    def add(
        counts: jax.Array, codes: jax.Array, labels: jax.Array, block: dict[str, jax.Array]
    ) -> jax.Array:
        distance = _distances(codes, block["codes"])
        level = shared_labels(labels, block["labels"])
        row = jnp.arange(len(codes))[:, None] * counts.shape[1]
        # Padding gets an index out of bounds, which is dropped.
        place = jnp.where(block["is_real"], row + distance * levels + level, counts.size)
        return counts.ravel().at[place].add(1, mode="drop").reshape(counts.shape)

    return compile_sum(add, devices)


def _words(packed: np.ndarray, num_bits: int) -> np.ndarray:
    """uint8 `[n, num_bytes]` -> uint32 `[n, ceil(num_bits / 32)]`, padded with zeros."""
    return hamming.words(packed).view(np.uint32)[:, : -(-num_bits // 32)]


def _for_device(query: np.ndarray, database: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class ids renumbered from 0 as int32; multi-hot labels as float32 for a matrix product."""
    if query.ndim == 2:
        return query.astype(np.float32), database.astype(np.float32)
    _, ids = np.unique(np.concatenate([query, database]), return_inverse=True)
    return ids[: len(query)].astype(np.int32), ids[len(query) :].astype(np.int32)


def _padded(array: np.ndarray, length: int) -> np.ndarray:
    """Appends zeros up to `[length, ...]`."""
    missing = [(0, length - len(array))] + [(0, 0)] * (array.ndim - 1)
    return np.pad(array, missing) if length > len(array) else array


def _slices(length: int, block: int) -> list[slice]:
    return [slice(start, min(start + block, length)) for start in range(0, length, block)]


def _even_block(length: int, most: int) -> int:
    """Size of equal blocks, at most `most`, so that as few as possible hold `length` rows."""
    return -(-length // -(-length // most))
