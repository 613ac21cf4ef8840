"""All retrieval metrics of codes and labels, with the conventions they follow."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from dsh_jax import hamming
from dsh_jax.devices import Devices
from dsh_jax.retrieval import hits, ranking
from dsh_jax.retrieval.arguments import as_integer
from dsh_jax.retrieval.conventions import Conventions, parse
from dsh_jax.retrieval.counts import distance_counts
from dsh_jax.retrieval.health import code_health

Metric = Callable[[np.ndarray], np.ndarray]
CUTS = (100, 1000, 5000)
_STABLE_BLOCK = 16  # queries whose distances to the whole database are held at a time
_TIE_BLOCK = 128  # queries whose ordered counts stay in a cache


def evaluate(
    query_codes: np.ndarray,
    query_labels: np.ndarray,
    database_codes: np.ndarray,
    database_labels: np.ndarray,
    *,
    num_bits: int,
    cuts: Iterable[int] = CUTS,
    radius: int = 2,
    conventions: str | Conventions = "expected",
    devices: Devices | None = None,
) -> dict[str, Any]:
    """Means of all metrics over the queries, ready for JSON.

    Args:
      query_codes, query_labels, database_codes, database_labels, num_bits: as for
        `counts.distance_counts`.
      cuts: ranks k at which to measure; one larger than the database is clipped to it.
      radius: of the lookup, in bits.
      conventions: how ties, denominators and queries without a relevant item are treated, as
        `Conventions` or in words ("expected", "stable/hits_in_top_k").
      devices: where to count; None for all local devices.

    Returns:
      `map`, and for each cut k `map_at_k`, `precision_at_k`, `recall_at_k`; if an item has several
      labels also `weighted_map`, `weighted_map_at_k`, `ndcg_at_k`, `acg_at_k`.
      `tie_band`: metric -> its means under the worst and the best order of ties.
      `standard_error`: metric -> that of its mean over the queries; None for a single query.
      `query_average_precision`: of each query that `map` is the mean of, rounded to 5 decimals.
      For the radius r `precision_within_radius_r`, `recall_within_radius_r`,
      `empty_ball_rate_radius_r`; `radius_curve`: the same for every radius from 0.
      `code_health`: of the database's codes (`health.code_health`).
      `num_bits`, `num_queries`, `num_database`, `num_queries_without_relevant`; with "skip_no_hit"
      `num_queries_without_hit`: cut -> their (expected) number; `clipped_cuts`: cut -> the one used
      in its place; `conventions`: their words, and `rules`: what each means.

    Raises:
      ValueError: codes or labels of the wrong shape or content; a cut, a radius or `num_bits` that
        is no integer or out of range; unknown conventions, or ones that leave out every query.
    """
    # Before counting, which may take long.
    num_bits, cuts, radius, conventions = _checked(num_bits, cuts, radius, conventions)
    codes_and_labels = (
        hamming.as_packed(query_codes, num_bits, "query_codes"),
        np.asarray(query_labels),
        hamming.as_packed(database_codes, num_bits, "database_codes"),
        np.asarray(database_labels),
    )
    counts = distance_counts(*codes_and_labels, num_bits=num_bits, devices=devices)
    return metrics_of(
        counts, *codes_and_labels,
        num_bits=num_bits, cuts=cuts, radius=radius, conventions=conventions,
    )  # fmt: skip


def metrics_of(
    counts: np.ndarray,
    query_codes: np.ndarray,
    query_labels: np.ndarray,
    database_codes: np.ndarray,
    database_labels: np.ndarray,
    *,
    num_bits: int,
    cuts: Iterable[int] = CUTS,
    radius: int = 2,
    conventions: str | Conventions = "expected",
) -> dict[str, Any]:
    """What `evaluate` returns, from counts that have been made already.

    Args:
      counts: `counts.distance_counts` of these codes and labels.
      query_codes: packed, uint8 `[n_query, ceil(num_bits / 8)]`.
      query_labels: `[n_query]` or `[n_query, classes]`.
      database_codes: packed, uint8 `[n_database, ceil(num_bits / 8)]`.
      database_labels: as the queries'.
      num_bits, cuts, radius, conventions: as for `evaluate`.

    Raises:
      ValueError: as `evaluate`.
    """
    num_bits, cuts, radius, conventions = _checked(num_bits, cuts, radius, conventions)
    labels = query_labels, database_labels
    without = counts[..., 1:].sum(axis=(1, 2)) == 0
    counted = ~without if conventions.without_relevant == "skip" else np.ones(len(counts), bool)
    # Where no item has two labels, similarity has no grades.
    graded = labels[0].ndim == 2 and any(of.sum(axis=1).max() > 1 for of in labels)
    metrics = _metrics(cuts, conventions.denominator, graded=graded)
    hit = _hits(cuts) if conventions.without_relevant == "skip_no_hit" else {}
    if conventions.ties == "stable":
        rows = [
            [metric(ranked)[0] for metric in (metrics | hit).values()]
            for ranked in _ranked_by_database(
                query_codes, database_codes, labels, num_bits, counts.shape[2]
            )
        ]
        values = dict(zip(metrics | hit, np.array(rows).T, strict=True))
    else:
        values = {name: metric(counts) for name, metric in (metrics | hit).items()}
    weights = _weights(values, list(metrics), counted, conventions, has_hits=bool(hit))
    band = _tie_band(counts, metrics, cuts, conventions.denominator)
    result = _means(values, weights)
    result["tie_band"] = {
        name: [_mean(bound, weights[name]) for bound in bounds] for name, bounds in band.items()
    }
    if hit:
        for k in cuts:
            result["tie_band"].pop(f"weighted_map_at_{k}", None)
            bounds = hits.mean_bounds(counts, k, band[f"map_at_{k}"], conventions.denominator)
            result["tie_band"][f"map_at_{k}"] = list(bounds)
        result["num_queries_without_hit"] = {
            str(k): float(np.sum(1 - values[f"hit_at_{k}"])) for k in cuts
        }
    precision, recall, empty = (x.mean(axis=0) for x in ranking.within_radius(counts))
    at = min(radius, num_bits)
    num_database = len(database_codes)
    return result | {
        f"precision_within_radius_{radius}": float(precision[at]),
        f"recall_within_radius_{radius}": float(recall[at]),
        f"empty_ball_rate_radius_{radius}": float(empty[at]),
        "radius_curve": {
            "precision": precision.tolist(),
            "recall": recall.tolist(),
            "empty_ball_rate": empty.tolist(),
        },
        "code_health": code_health(database_codes, num_bits=num_bits),
        "num_bits": int(num_bits),
        "num_queries": len(query_codes),
        "num_database": num_database,
        "num_queries_without_relevant": int(without.sum()),
        "clipped_cuts": {str(cut): num_database for cut in cuts if cut > num_database},
        "conventions": conventions.name,
        "rules": conventions.rules,
    }


def measure_rankings(
    rankings: Iterable[np.ndarray],
    num_database: int,
    *,
    graded: bool,
    cuts: Iterable[int] = CUTS,
    conventions: str | Conventions = "expected",
) -> dict[str, Any]:
    """Means of the ranked metrics over queries whose database is ranked by any similarity.

    Args:
      rankings: of each query, counts `[1, buckets, levels]` as `ranking` takes them, whose buckets
        are items of the same similarity.
      num_database: number of items in the database.
      graded: whether items have several labels.
      cuts, conventions: as for `evaluate`.

    Returns:
      What `evaluate` returns of the ranked metrics; without `tie_band`, and nothing of radii.

    Raises:
      ValueError: as `evaluate`.
    """
    _, cuts, _, conventions = _checked(1, cuts, 0, conventions)
    metrics = _metrics(cuts, conventions.denominator, graded=graded)
    has_hits = conventions.without_relevant == "skip_no_hit"
    of_all = metrics | (_hits(cuts) if has_hits else {})
    rows, without = [], []
    for counts in rankings:
        rows.append([metric(counts)[0] for metric in of_all.values()])
        without.append(counts[..., 1:].sum() == 0)
    values = dict(zip(of_all, np.array(rows).T, strict=True))
    counted = np.ones(len(rows), bool)
    if conventions.without_relevant == "skip":
        counted = ~np.array(without)
    weights = _weights(values, list(metrics), counted, conventions, has_hits=has_hits)
    return _means(values, weights) | {
        "num_queries": len(rows),
        "num_database": num_database,
        "num_queries_without_relevant": int(np.sum(without)),
        "clipped_cuts": {str(cut): num_database for cut in cuts if cut > num_database},
        "conventions": conventions.name,
        "rules": conventions.rules,
    }


def _weights(
    values: dict[str, np.ndarray],
    names: Sequence[str],
    counted: np.ndarray,
    conventions: Conventions,
    *,
    has_hits: bool,
) -> dict[str, np.ndarray]:
    """How much each query counts for each metric; what is left out has a weight and a value of 0.

    Raises:
      ValueError: every query is left out.
    """
    weights = {
        name: values["hit" + name.partition("map")[2]] if has_hits and "map" in name else counted
        for name in names
    }
    for name, weight in weights.items():
        if not weight.sum():
            raise ValueError(
                f"no query has a relevant item that counts for {name}, and the conventions "
                f"{conventions.name} leave out such queries"
            )
    return weights


def _means(values: dict[str, np.ndarray], weights: dict[str, np.ndarray]) -> dict[str, Any]:
    """The means of the metrics over queries, their standard errors, and each query's AP."""
    result: dict[str, Any] = {name: _mean(values[name], w) for name, w in weights.items()}
    result["standard_error"] = {
        name: standard_error(values[name], weight) for name, weight in weights.items()
    }
    of_query = values["map"][weights["map"] > 0]
    return result | {"query_average_precision": np.round(of_query, 5).tolist()}


def standard_error(values: np.ndarray, weights: np.ndarray | None = None) -> float | None:
    """The standard error of a mean over queries: the sample standard deviation / sqrt(n).

    Args:
      values: one per query, `[n]`, with the weights as factors already.
      weights: of the queries, `[n]`; all 1 by default, and 0 for a query that does not count.

    Returns:
      None for fewer than two values, which have no spread.
    """
    weights = np.ones(len(values)) if weights is None else weights
    n = int((weights > 0).sum())
    if n < 2:
        return None
    # Of a ratio of two sums; with equal weights this is the usual formula.
    residuals = values - weights * _mean(values, weights)
    return float(np.sqrt((residuals**2).sum() * n / (n - 1)) / weights.sum())


def _checked(
    num_bits: int, cuts: Iterable[int], radius: int, conventions: str | Conventions
) -> tuple[int, tuple[int, ...], int, Conventions]:
    """These arguments of `evaluate`, as plain integers and `Conventions`."""
    if isinstance(cuts, str) or not isinstance(cuts, Iterable):
        raise ValueError(f"cuts must be a sequence of integers, got {cuts!r}")
    if isinstance(conventions, str):
        conventions = parse(conventions)
    if not isinstance(conventions, Conventions):
        raise ValueError(f"conventions must be words or Conventions, got {conventions!r}")
    return (
        as_integer(num_bits, "num_bits", least=1),
        tuple(as_integer(cut, "each of cuts", least=1) for cut in cuts),
        as_integer(radius, "radius", least=0),
        conventions,
    )


def _metrics(cuts: Sequence[int], denominator: str, *, graded: bool) -> dict[str, Metric]:
    """The ranked metrics by name, each counts `[n, buckets, levels]` -> `[n]`."""
    ap = partial(ranking.average_precision, denominator=denominator)
    metrics: dict[str, Metric] = {"map": ap}
    for k in cuts:
        metrics |= {
            f"map_at_{k}": partial(ap, cut=k),
            f"precision_at_{k}": partial(ranking.precision_at, cut=k),
            f"recall_at_{k}": partial(ranking.recall_at, cut=k),
        }
    if graded:
        metrics["weighted_map"] = partial(ap, graded=True)
        for k in cuts:
            metrics |= {
                f"weighted_map_at_{k}": partial(ap, cut=k, graded=True),
                f"ndcg_at_{k}": partial(ranking.ndcg, cut=k),
                f"acg_at_{k}": partial(ranking.average_cumulative_gain, cut=k),
            }
    return metrics


def _hits(cuts: Sequence[int]) -> dict[str, Metric]:
    """The probability of a hit in the whole database and at each cut, as `_metrics`."""
    at = {f"hit_at_{k}": partial(ranking.hit_probability, cut=k) for k in cuts}
    return {"hit": ranking.hit_probability, **at}


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    """Mean over queries of weights `[n]`; the values `[n]` have the weights as factors already."""
    return float(values.sum() / weights.sum())


def _tie_band(
    counts: np.ndarray, metrics: dict[str, Metric], cuts: Sequence[int], denominator: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(worst, best) over all orders of the ties, for the metrics with known bounds."""
    blocks = []
    for start in range(0, max(len(counts), 1), _TIE_BLOCK):
        block = counts[start : start + _TIE_BLOCK]
        orders = [_without_empty(ranking.in_order(block, order)) for order in ("worst", "best")]
        blocks.append([[metric(order) for metric in metrics.values()] for order in orders])
    worst, best = ([np.concatenate(of) for of in zip(*rows, strict=True)]
                   for rows in zip(*blocks, strict=True))  # fmt: skip
    band = dict(zip(metrics, zip(worst, best, strict=True), strict=True))
    if denominator == "hits_in_top_k":  # the best order need not have the most similar items first
        for k in cuts:
            band.pop(f"weighted_map_at_{k}", None)
            band[f"map_at_{k}"] = ranking.average_precision_bounds_over_hits(counts, k)
    return band


def _without_empty(counts: np.ndarray) -> np.ndarray:
    """The counts without buckets that are empty for every query: most of them, if ordered."""
    there = np.asarray(counts.any(axis=(0, 2)))
    there[0] = True  # one bucket at least
    return counts[:, there]


def _ranked_by_database(
    query: np.ndarray,
    database: np.ndarray,
    labels: tuple[np.ndarray, np.ndarray],
    num_bits: int,
    levels: int,
) -> Iterator[np.ndarray]:
    """Rankings with ties in the database's order, per query: counts with one item per bucket."""
    for start in range(0, len(query), _STABLE_BLOCK):
        rows = slice(start, start + _STABLE_BLOCK)
        distances = hamming.distances(query[rows], database, num_bits)
        for distance, label in zip(distances, labels[0][rows], strict=True):
            shared = (labels[1] == label) if labels[1].ndim == 1 else labels[1] @ label
            level = shared.astype(np.int64)[np.argsort(distance, kind="stable")]
            yield (level[:, None] == np.arange(levels))[None].astype(np.int64)
