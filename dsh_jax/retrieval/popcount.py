"""Counts of database items on the CPU by XOR and popcount, compiled by Numba.

Import it only where Numba is installed. The compiled code is cached beside this file, or in the
user's cache folder.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from dsh_jax import hamming
from dsh_jax.retrieval.device_counts import slices

_ITEMS = 2**20  # whose codes and labels are in memory as words at a time
_BLOCK = 4096  # items whose codes and labels stay in the cache while all queries pass


def count(
    query: np.ndarray,
    query_labels: np.ndarray,
    database: np.ndarray,
    database_labels: np.ndarray,
    *,
    num_bits: int,
    levels: int,
) -> np.ndarray:
    """As `counts.distance_counts`, of packed codes and checked labels, on all cores."""
    queries = hamming.words(query), _label_words(query_labels)
    counts = np.zeros((len(query), (num_bits + 1) * levels), np.int64)

    def add(rows: slice, codes: np.ndarray, labels: np.ndarray) -> None:
        _add(*(array[rows] for array in queries), codes, labels, query_labels.ndim == 1, levels,
             counts[rows])  # fmt: skip

    with ThreadPoolExecutor(_num_cores()) as threads:
        for some in slices(len(database), _ITEMS):
            codes = np.ascontiguousarray(hamming.words(database[some]).T)
            labels = np.ascontiguousarray(_label_words(database_labels[some]).T)
            parts = slices(len(query), -(-len(query) // _num_cores()))
            list(threads.map(partial(add, codes=codes, labels=labels), parts))
    return counts.reshape(len(query), num_bits + 1, levels)


def _num_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _label_words(labels: np.ndarray) -> np.ndarray:
    """Class ids as uint64 `[n, 1]`; multi-hot labels as bits, uint64 `[n, words]`."""
    if labels.ndim == 1:
        return labels.astype(np.int64)[:, None].view(np.uint64)
    return hamming.words(np.packbits(labels.astype(bool), axis=1))


@intrinsic
def _popcount(typing_context: Any, word: Any) -> Any:
    """The number of ones in a uint64; LLVM makes it the processor's own instruction."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@njit(nogil=True, cache=True)
def _add(
    query_codes: np.ndarray,
    query_labels: np.ndarray,
    database_codes: np.ndarray,
    database_labels: np.ndarray,
    class_ids: bool,
    levels: int,
    counts: np.ndarray,
) -> None:
    """Adds to the counts of some queries; other threads run meanwhile.

    Args:
      query_codes: uint64 `[n_query, words]`.
      query_labels: uint64: class ids `[n_query, 1]`, or bits of multi-hot labels
        `[n_query, label words]`.
      database_codes: uint64 `[words, n_database]`.
      database_labels: uint64 `[1 or label words, n_database]`.
      class_ids: whether labels are class ids.
      levels: numbers of shared labels that are told apart.
      counts: int64 `[n_query, (num_bits + 1) * levels]`, changed in place.
    """
    words, n_database = database_codes.shape
    rest = np.zeros(_BLOCK, np.uint32)  # the place in `counts`, but for the first word's distance
    step = np.uint32(levels)
    # Four histograms: an addition need not wait for the one before it to the same place.
    found = np.zeros((4, counts.shape[1]), np.int32)
    for first in range(0, n_database, _BLOCK):
        size = min(_BLOCK, n_database - first)
        for query in range(len(query_codes)):
            if words > 1 or not class_ids:
                rest[:size] = 0
                for word in range(1, words):
                    code = query_codes[query, word]
                    for j in range(size):
                        distance = _popcount(code ^ database_codes[word, first + j])
                        rest[j] += np.uint32(distance) * step
            if not class_ids:
                for word in range(len(database_labels)):
                    label = query_labels[query, word]
                    for j in range(size):
                        rest[j] += np.uint32(_popcount(label & database_labels[word, first + j]))
            code, label = query_codes[query, 0], query_labels[query, 0]
            found[:] = 0
            whole = size - size % 4
            for start in range(0, whole, 4):
                for lane in range(4):
                    item = first + start + lane
                    place = rest[start + lane] + step * _popcount(code ^ database_codes[0, item])
                    same = class_ids and label == database_labels[0, item]
                    found[lane, place + same] += 1
            for j in range(whole, size):
                place = rest[j] + step * _popcount(code ^ database_codes[0, first + j])
                same = class_ids and label == database_labels[0, first + j]
                found[0, place + same] += 1
            for place in range(counts.shape[1]):
                counts[query, place] += (
                    found[0, place] + found[1, place] + found[2, place] + found[3, place]
                )
