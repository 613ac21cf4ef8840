"""Labels of items by the names of their classes or tags."""

from collections.abc import Iterable, Sequence

import numpy as np

from dsh_jax.errors import UserError

MOST_ENTRIES = 2**28  # items x classes, up to 4 bytes each


def multi_hot(of_items: Sequence[Iterable[str]], class_names: Sequence[str]) -> np.ndarray:
    """Which items have which classes, uint8 {0, 1} `[n, classes]`.

    Args:
      of_items: the classes of each item.
      class_names: of all classes.

    Raises:
      UserError: the matrix would have more than `MOST_ENTRIES`.
    """
    n, classes = len(of_items), len(class_names)
    if n * classes > MOST_ENTRIES:
        raise UserError(
            f"{n:,} items with {classes:,} different tags make {n * classes:,} labels, and the"
            f" limit is {MOST_ENTRIES:,}: keep only the most frequent tags, or fewer items."
        )
    column = {name: number for number, name in enumerate(class_names)}
    labels = np.zeros((n, classes), np.uint8)
    for row, names in zip(labels, of_items, strict=True):
        row[[column[name] for name in names]] = 1
    return labels


def as_labels(of_items: Sequence[Iterable[str]], class_names: Sequence[str]) -> np.ndarray:
    """Class ids `[n]` if no item has several labels, -1 for none; else multi-hot `[n, classes]`.

    Raises:
      UserError: as `multi_hot`.
    """
    sets = [{*labels} for labels in of_items]
    if any(len(labels) > 1 for labels in sets):
        return multi_hot(sets, class_names)
    column = {name: number for number, name in enumerate(class_names)}
    return np.array([column[next(iter(labels))] if labels else -1 for labels in sets], np.int32)
