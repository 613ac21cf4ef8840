"""Counts of database items by JAX: queries and database are compared block by block, on devices."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from dsh_jax import hamming
from dsh_jax.devices import Devices, compile_sum, replicate, shard

_THREADS = 4


def count(
    query: np.ndarray,
    query_labels: np.ndarray,
    database: np.ndarray,
    database_labels: np.ndarray,
    *,
    num_bits: int,
    levels: int,
    devices: Devices,
    query_block: int,
    database_block: int,
) -> np.ndarray:
    """As `counts.distance_counts`, of packed codes and checked labels."""
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
        for rows in slices(len(database), database_block)
    ]  # fmt: skip
    add = _compiled(levels, tuple(devices))
    chunk = query_block * len(devices)
    counts = np.empty((len(query), (num_bits + 1) * levels), np.int64)

    def count_some(rows: slice) -> None:
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
        list(threads.map(count_some, slices(len(query), chunk)))
    return counts.reshape(len(query), num_bits + 1, levels)


def _shared_labels(query_labels: jax.Array, database_labels: jax.Array) -> jax.Array:
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
        level = _shared_labels(labels, block["labels"])
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


def slices(length: int, block: int) -> list[slice]:
    """Consecutive slices of `block` rows, the last one perhaps shorter."""
    return [slice(start, min(start + block, length)) for start in range(0, length, block)]


def _even_block(length: int, most: int) -> int:
    """Size of equal blocks, at most `most`, so that as few as possible hold `length` rows."""
    return -(-length // -(-length // most))
