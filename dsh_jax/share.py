"""The part of a batch that one of several processes makes."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Share:
    """One of `count` equal parts, in order.

    Attributes:
      index: which, from 0.
      count: how many there are.
    """

    index: int = 0
    count: int = 1

    def of(self, rows: np.ndarray) -> np.ndarray:
        """This part of rows `[n, ...]`, where n is a multiple of `count`: `[n / count, ...]`."""
        size = len(rows) // self.count
        return rows[self.index * size : (self.index + 1) * size]


WHOLE = Share()
"""The whole batch."""
