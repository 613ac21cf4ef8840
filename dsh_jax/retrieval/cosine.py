"""Exact ranking by the cosine of real vectors: what binary codes of the same vectors stand for."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dsh_jax.retrieval.conventions import Conventions, parse
from dsh_jax.retrieval.metrics import measure_rankings

_QUERIES, _ITEMS = 64, 16384  # compared at a time


def evaluate_cosine(
    query: np.ndarray,
    query_labels: np.ndarray,
    database: Callable[[np.ndarray], np.ndarray],
    database_labels: np.ndarray,
    *,
    conventions: str | Conventions = "expected",
) -> dict[str, Any]:
    """Means of the ranked metrics over queries, each with the whole database ranked by cosine.

    Args:
      query: floats `[n_query, width]`. A vector of zeros has the cosine 0 with all others.
      query_labels: class ids `[n_query]`, or multi-hot `[n_query, classes]`.
      database: rows `[m]` of the database -> its floats `[m, width]`; called block by block.
      database_labels: as the queries', `[n_database, ...]`.
      conventions: as for `metrics.evaluate`. Items are tied where their cosines, computed in
        float64, are the same float32.

    Returns:
      See `metrics.measure_rankings`.

    Raises:
      ValueError: the conventions leave out every query.
    """
    conventions = parse(conventions) if isinstance(conventions, str) else conventions
    multi = query_labels.ndim == 2
    graded = multi and any(of.sum(axis=1).max() > 1 for of in (query_labels, database_labels))
    return measure_rankings(
        _rankings(query, query_labels, database, database_labels, ties=conventions.ties),
        len(database_labels), graded=graded, conventions=conventions,
    )  # fmt: skip


def _rankings(
    query: np.ndarray,
    query_labels: np.ndarray,
    database: Callable[[np.ndarray], np.ndarray],
    database_labels: np.ndarray,
    *,
    ties: str,
) -> Iterator[np.ndarray]:
    """Counts `[1, buckets, levels]` of each query, the nearest bucket first."""
    count = len(database_labels)
    levels = 2 if query_labels.ndim == 1 else int(query_labels.sum(axis=1).max(initial=1)) + 1
    for first in range(0, len(query), _QUERIES):
        rows = slice(first, first + _QUERIES)
        units = _units(query[rows])
        cosines = np.empty((len(units), count), np.float32)
        for start in range(0, count, _ITEMS):
            items = np.arange(start, min(start + _ITEMS, count))
            cosines[:, items] = units @ _units(database(items)).T
        for cosine, label in zip(cosines, query_labels[rows], strict=True):
            if database_labels.ndim == 1:
                shared = (database_labels == label).astype(np.int64)
            else:
                shared = database_labels.astype(np.int64) @ label
            order = np.argsort(-cosine, kind="stable")
            bucket = np.arange(count)
            if ties == "expected":
                bucket[1:] = np.cumsum(np.diff(cosine[order]) != 0)
            places = bucket * levels + shared[order]
            counts = np.bincount(places, minlength=(bucket[-1] + 1) * levels)
            yield counts.reshape(1, -1, levels)


def _units(vectors: np.ndarray) -> np.ndarray:
    """Vectors divided by their lengths, float64; zeros stay zeros."""
    vectors = vectors.astype(np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)
