"""Intervals and p-values of paired differences, and how scores spread.

Two arms of a comparison are measured on the same *draws*: a draw has one seed of training and one
split, hence the same queries for both arms. What varies is the draw (split, initial weights, order
of batches) and, inside a draw, which items happen to be queries.

- `t_interval` asks for the difference on another draw. It takes a mean difference per draw.
- `bootstrap` resamples draws and then queries. It takes the differences of every query, and works
  with a single draw: then it asks for the difference with other queries for these trained networks.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from dsh_jax.report.spread import mean_and_deviation

FEWEST_DRAWS = 3
"""A t interval of two draws is so wide that it says nothing."""
LEVEL = 0.95
RESAMPLES = 4000
_CELLS = 2**22  # of the largest array of resampled values


@dataclass(frozen=True)
class Interval:
    """A mean difference.

    Attributes:
      mean: of the differences.
      low, high: ends of the interval at `LEVEL`.
      p: two-sided p-value of "there is no difference".
    """

    mean: float
    low: float
    high: float
    p: float


def t_interval(differences: Sequence[float]) -> Interval:
    """Student's paired t interval and test.

    Args:
      differences: the difference of the two means on each draw, `[n]`.

    Returns:
      Equal differences have an interval of no width, and p 0 (1 if all are 0).

    Raises:
      ValueError: fewer than `FEWEST_DRAWS`.
    """
    count = len(differences)
    if count < FEWEST_DRAWS:
        raise ValueError(f"a t interval needs {FEWEST_DRAWS} draws or more, got {count}")
    mean, deviation = mean_and_deviation(differences)
    if not deviation:
        return Interval(mean, mean, mean, float(mean == 0))
    error = deviation / math.sqrt(count)
    half = float(stats.t.ppf((1 + LEVEL) / 2, count - 1)) * error
    p = 2 * float(stats.t.sf(abs(mean) / error, count - 1))
    return Interval(mean, mean - half, mean + half, p)


def bootstrap(
    draws: Sequence[Sequence[float] | np.ndarray],
    *,
    same_queries: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of the mean over draws of the mean over queries.

    Each resample takes as many draws as there are, with replacement, and for each of them as many
    queries as it has, with replacement. With few draws the interval is too narrow, as the
    percentile bootstrap of few values always is.

    Args:
      draws: for each draw the differences of its queries, `[n_query]`; draws may have different
        numbers of queries.
      same_queries: value q of each draw is of the same query, as where the draws share one split
        or all use an official test set; then all draws of a resample take the same queries.
      resamples: how many; the p-value is never below 1 / (resamples + 1).
      seed: of the resamples.

    Raises:
      ValueError: no draws, a draw without queries, or draws of different numbers of queries that
        are said to be the same.
    """
    arrays = [np.asarray(draw, np.float64) for draw in draws]
    if not arrays or not all(draw.ndim == 1 and draw.size for draw in arrays):
        raise ValueError(f"a bootstrap needs draws with queries, got {[a.shape for a in arrays]}")
    if same_queries and len({draw.size for draw in arrays}) > 1:
        raise ValueError(f"draws of the same queries have {[draw.size for draw in arrays]} of them")
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(arrays), size=(resamples, len(arrays)))
    means = _crossed(arrays, picks, rng) if same_queries else _nested(arrays, picks, rng)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    below, above = int(np.sum(means <= 0)), int(np.sum(means >= 0))
    p = min(1.0, 2 * (1 + min(below, above)) / (resamples + 1))
    mean = statistics.mean(float(draw.mean()) for draw in arrays)
    return Interval(mean, float(low), float(high), p)


def _nested(
    draws: Sequence[np.ndarray], picks: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Means of resamples `[resamples]`, where each picked draw takes queries of its own."""
    total = np.zeros(len(picks))
    for pick in picks.T:
        for number, draw in enumerate(draws):
            rows = np.flatnonzero(pick == number)
            for some in _blocks(rows, draw.size):
                chosen = rng.integers(draw.size, size=(some.size, draw.size))
                total[some] += draw[chosen].mean(axis=1)
    return total / len(draws)


def _crossed(
    draws: Sequence[np.ndarray], picks: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Means of resamples `[resamples]`, where all picked draws take the same queries."""
    values = np.stack(draws)
    num_draws, num_queries = values.shape
    means = np.empty(len(picks))
    for some in _blocks(np.arange(len(picks)), num_queries):
        weights = (picks[some, :, None] == np.arange(num_draws)).mean(axis=1)
        chosen = rng.integers(num_queries, size=(some.size, num_queries))
        means[some] = np.take_along_axis(weights @ values, chosen, axis=1).mean(axis=1)
    return means


def _blocks(rows: np.ndarray, width: int) -> list[np.ndarray]:
    """Rows in blocks, so that an array of a block's rows by `width` stays small."""
    size = max(1, _CELLS // width)
    return [rows[start : start + size] for start in range(0, rows.size, size)]
