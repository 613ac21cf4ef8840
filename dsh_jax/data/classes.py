"""Leaves out classes of a user's own items that nothing can be learned from, and says so."""

from dataclasses import replace
from typing import TypeVar

import numpy as np

from dsh_jax.data.dataset import Dataset
from dsh_jax.errors import UserError

_MOST_NAMES = 10  # in one remark

Own = TypeVar("Own", bound=Dataset)


def usable_classes(dataset: Own, *, tests_are_queries: bool) -> Own:
    """The same items without the classes that have none, or none to learn from.

    Args:
      dataset: the items that can be read, with all classes.
      tests_are_queries: whether test items are kept apart from all others. Then a class that only
        they have loses its label: nothing could be found for it, and no network could learn it.

    Returns:
      The same items with the same ids, fewer classes, and a note for what is left out.

    Raises:
      UserError: no class is left.
    """
    hot = dataset.multi_hot(np.arange(len(dataset))) > 0
    in_all, in_test = hot.sum(axis=0), hot[dataset.is_test].sum(axis=0)
    is_empty = in_all == 0
    only_test = ~is_empty & (in_all == in_test) & (tests_are_queries and hot[dataset.is_test].any())
    keep = ~(is_empty | only_test)
    if not keep.any():
        raise UserError(
            f"No class of {dataset.name} has an item to train on: add items of its classes, or mark"
            " fewer of them as test items."
        )
    notes = []
    if is_empty.any():
        which = _named(dataset, is_empty)
        notes.append(f"warning     classes without an item are left out: {which}")
    if only_test.any():
        items = int((hot[:, only_test].any(axis=1) & ~hot[:, keep].any(axis=1)).sum())
        notes.append(
            "warning     classes that only test items have are left out, because training cannot"
            f" learn them and search finds none: {_named(dataset, only_test)}, {items:,} items"
        )
    if not notes:
        return dataset
    if dataset.multi_label:
        labels = dataset.labels[:, keep]
    else:
        labels = np.append(np.where(keep, np.cumsum(keep) - 1, -1), -1)[dataset.labels]
    return replace(
        dataset,
        labels=labels.astype(dataset.labels.dtype),
        class_names=tuple(np.asarray(dataset.class_names, object)[keep]),
        notes=(*dataset.notes, *notes),
    )


def _named(dataset: Dataset, which: np.ndarray) -> str:
    """The names of some classes, bool `[classes]`, the first ten of them."""
    names = [repr(dataset.class_names[label]) for label in np.flatnonzero(which)]
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
