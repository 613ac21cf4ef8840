"""Retrieval metrics with ties handled exactly.

A code of K bits has K + 1 distances, so most of a ranking is ties, and the order among them is
nobody's merit. Every ranked metric here is the expectation under a uniformly random order of the
items at the same distance (McSherry & Najork, "Computing information retrieval performance
measures efficiently in the presence of tied scores", ECIR 2008). It needs only two histograms of
distances a query, all items and relevant items, and no sort.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import digamma

from dsh_jax import hamming

RULES = {
    "ties": "expected",
    "denominator": "map: all relevant items in the database; map_at_k: min(k, all relevant items); "
    "precision_at_k: k, or the size of the database if smaller; recall_at_k: all relevant items",
    "queries_without_relevant": "counted 0",
    "empty_ball": "counted 0",
}


def histograms(
    query_codes: np.ndarray,
    query_labels: np.ndarray,
    database_codes: np.ndarray,
    database_labels: np.ndarray,
    *,
    num_bits: int,
    query_block: int = 64,
    database_block: int = 65536,
) -> tuple[np.ndarray, np.ndarray]:
    """How many items, and how many relevant ones, lie at each distance from each query.

    Args:
      query_codes: packed codes, uint8 `[n_query, ceil(num_bits / 8)]`.
      query_labels: class ids, integers `[n_query]`, or multi-hot {0, 1} `[n_query, classes]`. An
        item is relevant if it has the query's class, or shares at least one label with it.
      database_codes: uint8 `[n_database, ceil(num_bits / 8)]`.
      database_labels: `[n_database]` or `[n_database, classes]`, of the queries' kind.
      num_bits: bits of a code.
      query_block: queries taken at a time.
      database_block: database items taken at a time; memory grows with the product of the two.

    Returns:
      (total, relevant), both int64 `[n_query, num_bits + 1]`; column d counts distance d.

    Raises:
      ValueError: codes or labels of the wrong shape or content, an empty set, a block below 1.
    """
    query_codes = hamming.check_packed(query_codes, num_bits, "query_codes")
    database_codes = hamming.check_packed(database_codes, num_bits, "database_codes")
    query_labels, database_labels = np.asarray(query_labels), np.asarray(database_labels)
    _check_labels(query_labels, database_labels, len(query_codes), len(database_codes))
    if query_block < 1 or database_block < 1:
        raise ValueError(f"blocks must be at least 1, got {query_block} and {database_block}")

    width = num_bits + 1
    total = np.zeros((len(query_codes), width), np.int64)
    relevant = np.zeros_like(total)
    for q in range(0, len(query_codes), query_block):
        rows = slice(q, q + query_block)
        shape, size = total[rows].shape, total[rows].size
        first_bin = width * np.arange(shape[0])[:, None]
        for d in range(0, len(database_codes), database_block):
            columns = slice(d, d + database_block)
            bins = hamming.distances(query_codes[rows], database_codes[columns], num_bits)
            bins = bins + first_bin  # each query of the block has its own run of bins
            hits = bins[_is_relevant(query_labels[rows], database_labels[columns])]
            total[rows] += np.bincount(bins.ravel(), minlength=size).reshape(shape)
            relevant[rows] += np.bincount(hits, minlength=size).reshape(shape)
    return total, relevant


def average_precision(
    total: np.ndarray, relevant: np.ndarray, cut: int | None = None
) -> np.ndarray:
    """Expected average precision of each query.

    The sum of the precisions at the ranks of relevant items (up to rank `cut`) is divided by the
    number of relevant items in the database, or by min(cut, that number) when there is a cut: a
    constant, so that 1 means the best possible ranking and nothing is won by finding fewer items.
    (Some published code divides by the hits in the top `cut` instead, which gives higher scores.)

    Args:
      total: `[n_query, num_bits + 1]`, items at each distance (see `histograms`).
      relevant: the same shape, relevant items at each distance.
      cut: rank after which nothing counts, >= 1; None for the whole database.

    Returns:
      float64 `[n_query]` in [0, 1]; 0 for a query without relevant items.

    Raises:
      ValueError: the two are no pair of histograms, or cut < 1.
    """
    total, relevant = _check_histograms(total, relevant)
    before = np.cumsum(total, axis=1) - total  # N: items at smaller distances
    relevant_before = np.cumsum(relevant, axis=1) - relevant  # R
    inside = _inside(total, cut)  # n'
    # At the i-th place of a bucket of n items, r of them relevant, a relevant item stands with
    # probability r / n, and then (i - 1)(r - 1) / (n - 1) more are expected before it in the
    # bucket. The precision there is (R + 1 + (i - 1) slope) / (N + i), and with
    # (i - 1) / (N + i) = 1 - (N + 1) / (N + i) the sum over i = 1..n' is
    # n' slope + (R + 1 - (N + 1) slope) (H[N + n'] - H[N]), H the harmonic numbers.
    slope = (relevant - 1) / np.maximum(total - 1, 1)
    harmonic = digamma(before + inside + 1.0) - digamma(before + 1.0)
    precisions = inside * slope + (relevant_before + 1 - (before + 1) * slope) * harmonic
    summed = np.sum(_ratio(relevant, total) * precisions, axis=1)
    best = relevant.sum(axis=1)
    return np.clip(_ratio(summed, best if cut is None else np.minimum(best, cut)), 0.0, 1.0)


def precision_at(total: np.ndarray, relevant: np.ndarray, cut: int) -> np.ndarray:
    """Expected share of relevant items in the first `cut` ranks, float64 `[n_query]`.

    A cut larger than the database is taken as the size of the database. Arguments and errors as
    for `average_precision`.
    """
    total, relevant = _check_histograms(total, relevant)
    inside = _inside(total, cut)
    return _ratio(_hits(total, relevant, inside), inside.sum(axis=1))


def recall_at(total: np.ndarray, relevant: np.ndarray, cut: int) -> np.ndarray:
    """Expected share of all relevant items that are in the first `cut` ranks, `[n_query]`.

    0 for a query without relevant items. Arguments and errors as for `average_precision`.
    """
    total, relevant = _check_histograms(total, relevant)
    return _ratio(_hits(total, relevant, _inside(total, cut)), relevant.sum(axis=1))


def precision_within_radius(total: np.ndarray, relevant: np.ndarray, radius: int) -> np.ndarray:
    """Share of relevant items among those at distance <= radius (in bits), float64 `[n_query]`.

    0 where that ball is empty. Nothing is expected here: ties do not matter.

    Raises:
      ValueError: the two are no pair of histograms, or radius < 0.
    """
    total, relevant = _check_histograms(total, relevant)
    if radius < 0:
        raise ValueError(f"radius must be at least 0, got {radius}")
    ball = slice(radius + 1)
    return _ratio(relevant[:, ball].sum(axis=1), total[:, ball].sum(axis=1))


def evaluate(
    query_codes: np.ndarray,
    query_labels: np.ndarray,
    database_codes: np.ndarray,
    database_labels: np.ndarray,
    *,
    num_bits: int,
    cuts: Sequence[int] = (100, 1000),
    radius: int = 2,
) -> dict[str, Any]:
    """Means of all metrics over the queries, ready for JSON.

    Codes and labels as for `histograms`. For every cut k there are `map_at_k`, `precision_at_k`
    and `recall_at_k`; for the radius r, `precision_within_radius_r` and `empty_ball_rate_radius_r`.
    `clipped_cuts` maps each cut that the database is too small for to the cut used in its place,
    and `rules` says in words how ties, denominators and empty cases were treated.

    Raises:
      ValueError: as for `histograms`; a cut below 1; a radius below 0.
    """
    if radius < 0 or min(cuts, default=1) < 1:  # before the long work
        raise ValueError(f"cuts must be at least 1 and radius 0, got {tuple(cuts)} and {radius}")
    total, relevant = histograms(
        query_codes, query_labels, database_codes, database_labels, num_bits=num_bits
    )
    num_database = len(database_codes)
    result: dict[str, Any] = {"map": float(average_precision(total, relevant).mean())}
    for name in cuts:
        cut = min(name, num_database)
        result[f"map_at_{name}"] = float(average_precision(total, relevant, cut).mean())
        result[f"precision_at_{name}"] = float(precision_at(total, relevant, cut).mean())
        result[f"recall_at_{name}"] = float(recall_at(total, relevant, cut).mean())
    within = precision_within_radius(total, relevant, radius)
    empty = total[:, : radius + 1].sum(axis=1) == 0
    return result | {
        f"precision_within_radius_{radius}": float(within.mean()),
        f"empty_ball_rate_radius_{radius}": float(empty.mean()),
        "num_bits": int(num_bits),
        "num_queries": len(query_codes),
        "num_database": num_database,
        "num_queries_without_relevant": int(np.sum(relevant.sum(axis=1) == 0)),
        "clipped_cuts": {str(cut): num_database for cut in cuts if cut > num_database},
        "rules": dict(RULES),
    }


def _check_labels(query: np.ndarray, database: np.ndarray, n_query: int, n_database: int) -> None:
    shapes = f"labels {query.shape} and {database.shape}, codes {n_query} and {n_database}"
    if not n_query or not n_database:
        raise ValueError(f"there must be a query and a database item: {shapes}")
    if query.ndim not in (1, 2) or query.shape[1:] != database.shape[1:]:
        raise ValueError(f"labels must both be [n] or both [n, classes]: {shapes}")
    if len(query) != n_query or len(database) != n_database:
        raise ValueError(f"there must be as many labels as codes: {shapes}")
    for labels in (query, database):
        if query.ndim == 1 and labels.dtype.kind not in "iu":
            raise ValueError(f"class ids must be integers, got {labels.dtype}: {shapes}")
        if query.ndim == 2 and not np.all((labels == 0) | (labels == 1)):
            raise ValueError(f"multi-hot labels must hold only 0 and 1: {shapes}")


def _is_relevant(query_labels: np.ndarray, database_labels: np.ndarray) -> np.ndarray:
    """bool `[n_query, n_database]`."""
    if query_labels.ndim == 1:
        return query_labels[:, None] == database_labels[None, :]
    return query_labels.astype(np.float32) @ database_labels.astype(np.float32).T > 0


def _check_histograms(total: np.ndarray, relevant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    total, relevant = np.asarray(total), np.asarray(relevant)
    if total.ndim != 2 or total.shape != relevant.shape:
        raise ValueError(
            "total and relevant must both be [n_query, num_bits + 1], "
            f"got {total.shape} and {relevant.shape}"
        )
    if np.any(relevant < 0) or np.any(relevant > total):
        raise ValueError(f"relevant {relevant.shape} must lie between 0 and total {total.shape}")
    return total.astype(np.int64), relevant.astype(np.int64)


def _inside(total: np.ndarray, cut: int | None) -> np.ndarray:
    """How many items of each bucket fall in the first `cut` ranks, `[n_query, num_bits + 1]`."""
    if cut is None:
        return total
    if cut < 1:
        raise ValueError(f"cut must be at least 1, got {cut}")
    return np.clip(cut - (np.cumsum(total, axis=1) - total), 0, total)


def _hits(total: np.ndarray, relevant: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Expected number of relevant items in the cut, `[n_query]`."""
    return np.sum(_ratio(relevant * inside, total), axis=1)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, 0 where the denominator is 0."""
    return numerator / np.maximum(denominator, 1) * (denominator > 0)
