"""Means over the queries that have a hit: a relevant item in the first k ranks.

Much public hashing code leaves a query without a hit out of mAP at k, for example DeepHash
(github.com/thulab/DeepHash). Where ties decide whether a query has a hit, their random
order decides whether it counts. Here each query then has the probability of a hit as its weight:
the mean is the expected sum of average precisions divided by the expected number of queries with a
hit. (The expectation of the ratio itself would depend on whether all queries share one random
order. Both agree up to terms of 1 / number of queries, and exactly where ties do not decide.)
"""

import numpy as np

from dsh_jax.retrieval import ranking


def mean_bounds(
    counts: np.ndarray, cut: int, bounds: tuple[np.ndarray, np.ndarray], denominator: str
) -> tuple[float, float]:
    """The lowest and the highest mean of average precision over the queries that have a hit.

    Over all orders of the ties, of each query by itself. A query that has a hit in some orders only
    is left out where that moves the mean further, and so counts for both bounds.

    Args:
      counts: as for `ranking`, `[n_query, buckets, levels]`.
      cut: the k of mAP at k.
      bounds: average precision under the worst and the best order of each query, `[n_query]` each.
      denominator: as for `ranking.average_precision`.

    Raises:
      ValueError: no query has a hit in any order.
    """
    surely, possibly = (
        ranking.hit_probability(ranking.in_order(counts, order), cut) == 1
        for order in ("worst", "best")
    )
    if not possibly.any():
        raise ValueError(f"no query has a relevant item in the first {cut}")
    perhaps = possibly & ~surely
    worst, best = bounds
    # The lowest score of a query with a hit has one, at the last rank.
    relevant = counts[..., 1:].sum(axis=(1, 2))
    divisor = {"reachable": np.minimum(relevant, cut), "all_relevant": relevant,
               "hits_in_top_k": np.ones(len(counts))}[denominator]  # fmt: skip
    lowest = 1 / np.minimum(cut, counts.sum(axis=(1, 2))) / np.maximum(divisor, 1)
    low = _means(worst[surely], np.sort(lowest[perhaps]))
    high = _means(best[surely], np.sort(best[perhaps])[::-1])
    return float(low.min()), float(high.max())


def _means(certain: np.ndarray, more: np.ndarray) -> np.ndarray:
    """The means of the certain values with the first 0, 1, 2, ... of more."""
    sums = certain.sum() + np.cumsum([0.0, *more])
    numbers = len(certain) + np.arange(len(more) + 1)
    return np.asarray(sums[numbers > 0] / numbers[numbers > 0])
