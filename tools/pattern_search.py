"""Searches settings field by field until no neighbour is better: a pattern search.

A grid has edges, and an optimum at an edge is none. Here every field has values without end, or
with ends beyond which nothing is valid, and the search walks on for as long as the score rises.
What it ends at has been compared with the next lower and the next higher value of each field.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Setting = Mapping[str, Any]


@dataclass(frozen=True)
class Decades:
    """The values of `digits` times powers of ten, from `least` on.

    Attributes:
      digits: ascending, from 1 to below 10.
      least: none smaller is valid.
    """

    digits: tuple[int, ...] = (1, 3)
    least: float = 0.0

    def beside(self, value: float, sign: int) -> float | None:
        """The next value above (sign 1) or below (-1); None where none is valid."""
        exponent = math.floor(math.log10(value) + 1e-9)
        values = [
            float(f"{digit}e{power}")
            for power in range(exponent - 1, exponent + 2)
            for digit in self.digits
        ]
        slack = 1 + 1e-6
        further = [v for v in values if (v > value * slack if sign > 0 else v * slack < value)]
        found = min(further) if sign > 0 else max(further)
        return found if found >= self.least else None


@dataclass(frozen=True)
class Doubled:
    """An integer, and its doubles and halves down to 1."""

    def beside(self, value: int, sign: int) -> int | None:
        """As `Decades.beside`."""
        if sign > 0:
            return 2 * value
        return value // 2 if value > 1 else None


@dataclass(frozen=True)
class Ladder:
    """Some values, ascending; beyond the last ones nothing is sensible."""

    values: tuple[float, ...]

    def beside(self, value: float, sign: int) -> float | None:
        """As `Decades.beside`."""
        further = [v for v in self.values if (v > value if sign > 0 else v < value)]
        if not further:
            return None
        return min(further) if sign > 0 else max(further)


Axis = Decades | Doubled | Ladder


def search(
    start: Setting,
    axes: Mapping[str, Axis],
    score: Callable[[Setting], float],
    least_gain: float = 0.0,
) -> dict[str, Any]:
    """Walks from `start` to a setting that no neighbour beats.

    Args:
      start: field -> value; fields without an axis stay as they are.
      axes: field -> its values, in the order in which they are tried.
      score: of a setting, the higher the better.
      least_gain: a neighbour must be better by more than this, as scores are noisy.

    Returns:
      The best setting. For each field of `axes` both neighbours have been tried beside it, as far
      as there are any.
    """
    best, top = dict(start), score(start)
    settled, fields = 0, list(axes)
    place = 0
    while settled < len(fields):
        field = fields[place % len(fields)]
        place += 1
        moved = False
        for sign in (1, -1):
            while (value := axes[field].beside(best[field], sign)) is not None:
                found = score({**best, field: value})
                if not found > top + least_gain:
                    break
                best, top, moved = {**best, field: value}, found, True
            if moved:
                break
        settled = 1 if moved else settled + 1
    return best
