"""Scores of several runs in words: their mean, their spread, and how many there are."""

import statistics
from collections.abc import Sequence


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the sample standard deviation, None for a single value.

    Raises:
      statistics.StatisticsError: there are no values.
    """
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return statistics.mean(values), deviation


def score(values: Sequence[float], *, count: bool = True) -> str:
    """The value, or mean ± sample standard deviation of several runs and, if asked, how many."""
    mean, deviation = mean_and_deviation(values)
    if deviation is None:
        return f"{mean:.3f}"
    return f"{mean:.3f} ± {deviation:.3f}" + (f" (n = {len(values)})" if count else "")


def splits(checksums: Sequence[str]) -> str:
    """A remark on runs that share splits; empty if there is none to make."""
    number = len(set(checksums))
    if number == len(checksums):
        return ""
    return " (one split)" if number == 1 else f" ({number} splits)"
