"""Several queries as one: a weighted sum of relaxed codes."""

from collections.abc import Sequence

import numpy as np

from dsh_jax import hamming


def combine(relaxed: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """The code nearest to some items and, where weights are negative, far from others.

    A bit is 1 where the weighted sum of 2 r - 1 is above 0. One item with a positive weight has
    its own code.

    Args:
      relaxed: of each item `[num_bits]`, in [0, 1].
      weights: one for each.

    Returns:
      Packed, uint8 `[1, ceil(num_bits / 8)]`.

    Raises:
      ValueError: no items, other numbers of weights, or a weight that is no finite number.
    """
    if not len(relaxed) or len(relaxed) != len(weights) or not np.isfinite(weights).all():
        raise ValueError(f"{len(relaxed)} items need as many finite weights, got {list(weights)}")
    signs = 2 * np.stack(relaxed).astype(np.float64) - 1
    return hamming.pack((np.asarray(weights, np.float64) @ signs > 0)[None].astype(np.uint8))
