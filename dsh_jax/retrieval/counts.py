"""Counts of database items by their distance to each query and the labels they share with it.

Ranked metrics follow from these counts (`ranking`), so no full distance matrix and no sort is
needed: queries and database are compared block by block.
"""

from functools import cache
from types import ModuleType
from typing import Literal

import jax
import numpy as np

from dsh_jax import hamming
from dsh_jax.devices import Devices
from dsh_jax.retrieval import device_counts

QUERY_BLOCK = 64
DATABASE_BLOCK = 16384
_LARGE = 2**25  # pairs; counting fewer takes less time than to import Numba


def distance_counts(
    query_codes: np.ndarray,
    query_labels: np.ndarray,
    database_codes: np.ndarray,
    database_labels: np.ndarray,
    *,
    num_bits: int,
    devices: Devices | None = None,
    levels: int | None = None,
    kernel: Literal["auto", "devices", "popcount"] = "auto",
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
      levels: of the counts, at least those of these queries; None is `levels_of` them.
      kernel: "devices" counts on them by JAX, "popcount" on all cores of the CPU by Numba. "auto"
        takes the latter where the devices are CPUs, the problem is large, and Numba is installed.
        The counts are the same.
      query_block: most queries that a device compares at a time.
      database_block: most items that a query block is compared with at a time; memory on a device
        grows with the product of the two.

    Returns:
      int64 `[n_query, num_bits + 1, levels]`: `[q, d, l]` items are d bits away from query q and
      share l labels with it. Class ids have two levels, multi-hot labels one more than the most
      labels of a query.

    Raises:
      ValueError: codes or labels of the wrong shape or content; no queries or no items; a block
        below 1; "popcount" without Numba.
    """
    query = hamming.as_packed(query_codes, num_bits, "query_codes")
    database = hamming.as_packed(database_codes, num_bits, "database_codes")
    query_labels, database_labels = np.asarray(query_labels), np.asarray(database_labels)
    check_labels(query_labels, database_labels, len(query), len(database))
    if query_block < 1 or database_block < 1:
        raise ValueError(f"blocks must be at least 1, got {query_block} and {database_block}")
    levels = levels_of(query_labels) if levels is None else levels

    devices = jax.local_devices() if devices is None else devices
    arrays = query, query_labels, database, database_labels
    on_cpu = all(device.platform == "cpu" for device in devices)
    large = len(query) * len(database) >= _LARGE
    if kernel == "popcount" or (kernel == "auto" and on_cpu and large):
        popcount = _popcount()
        if popcount is not None:
            return popcount.count(*arrays, num_bits=num_bits, levels=levels)
        if kernel == "popcount":
            raise ValueError("kernel='popcount' needs Numba: pip install numba, or use 'auto'")
    return device_counts.count(
        *arrays, num_bits=num_bits, levels=levels, devices=devices, query_block=query_block,
        database_block=database_block,
    )  # fmt: skip


def levels_of(query_labels: np.ndarray) -> int:
    """Numbers of shared labels that are told apart: 2 for class ids, `[n]`; see the counts."""
    return 2 if query_labels.ndim == 1 else 1 + int(query_labels.sum(axis=1).max())


@cache
def _popcount() -> ModuleType | None:
    """The module; None without Numba, or without any folder for what it compiles."""
    try:
        from dsh_jax.retrieval import popcount  # slow to import
    except (ImportError, RuntimeError):
        return None
    return popcount


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
