"""Cells of the tables of results: scores of several draws, their labels, and times.

A "content" is what `eval.py --result` writes. What older results do not hold is a gap.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from dsh_jax.report.spread import splits
from tools.intervals import Interval

Content = Mapping[str, Any]
GAP = "-"


def query_error(contents: Sequence[Content], metric: str = "map") -> str:
    """The standard error of a metric over the queries of one draw; the mean of that of several."""
    errors = [content.get("standard_error", {}).get(metric) for content in contents]
    return GAP if None in errors else f"{statistics.mean(errors):.3f}"


def labels(content: Content) -> str:
    """The numbers of labeled items and of validation items, whose labels count too."""
    return f"{content['num_labeled']} + {content.get('num_validation', '?')}"


def draws(contents: Sequence[Content]) -> str:
    """The seeds, and the number of splits unless each draw has one of its own."""
    seeds = ", ".join(str(content["seed"]) for content in contents)
    return seeds + splits([content["split_checksum"] for content in contents])


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def interval(found: Interval | None) -> tuple[str, str]:
    """The ends of an interval, and its p-value."""
    if found is None:
        return GAP, GAP
    p = "< 0.001" if found.p < 0.001 else f"{found.p:.3f}"
    return f"{found.low:+.3f} to {found.high:+.3f}", p
