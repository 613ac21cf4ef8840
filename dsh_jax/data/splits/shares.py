"""Numbers of queries and validation items that follow from the size of each class.

For data of one's own, whose classes may be small and of any sizes: a fixed number per class takes
most of a small class away from training, and cannot be had from a smaller one.
"""

from collections.abc import Callable, Sequence

import numpy as np

AUTOMATIC = -1
"""The number per class that stands for a share of the class."""

SHARE = 0.1
LEAST_QUERIES = 1
LEAST_VALIDATION = 2  # validation items are each other's database: one alone finds nothing
MOST = 100
SMALLEST = 5  # items that a class must have left; of a smaller one all are trained on


def num_queries(sizes: np.ndarray) -> np.ndarray:
    """The queries of each class.

    Args:
      sizes: items of each class, int `[classes]`.

    Returns:
      About a tenth, from 1 to 100; 0 of a class with fewer than 5 items. Int `[classes]`.
    """
    return _share(sizes, LEAST_QUERIES)


def num_validation(sizes: np.ndarray) -> np.ndarray:
    """The validation items of each class.

    Args:
      sizes: items of each class that are left when the queries are drawn, int `[classes]`.

    Returns:
      About a tenth, from 2 to 100; 0 of a class with fewer than 5 items. Int `[classes]`.
    """
    return _share(sizes, LEAST_VALIDATION)


def take(
    orders: Sequence[np.ndarray], share: Callable[[np.ndarray], np.ndarray]
) -> list[np.ndarray]:
    """The first items of each class, as many as its share.

    Where items have several labels, the smallest class draws first, and what was drawn for another
    class counts; of a class too small for a share nothing is drawn, for no class.

    Args:
      orders: the items of each class `[size]`, in the order in which they are drawn.
      share: `num_queries` or `num_validation`.

    Returns:
      The items drawn for each class, `[count]`, all different.
    """
    sizes = np.array([len(order) for order in orders])
    counts = share(sizes)
    n = max((int(order.max()) + 1 for order in orders if len(order)), default=0)
    free, is_taken = np.ones(n, bool), np.zeros(n, bool)
    for order, count in zip(orders, counts, strict=True):
        if not count:  # a class too small keeps all its items
            free[order] = False
    taken = [order[:0] for order in orders]
    for label in np.argsort(sizes, kind="stable"):
        order = orders[label]
        missing = max(0, int(counts[label]) - int(is_taken[order].sum()))
        taken[label] = order[free[order]][:missing]
        free[taken[label]], is_taken[taken[label]] = False, True
    return taken


def _share(sizes: np.ndarray, least: int) -> np.ndarray:
    share = np.clip(np.rint(SHARE * sizes), least, MOST).astype(np.int64)
    return np.where(sizes < SMALLEST, 0, share)
