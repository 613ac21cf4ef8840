"""What a user should know of a split whose sizes follow from the data, before training."""

import numpy as np

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.splits import shares
from dsh_jax.data.splits.shares import AUTOMATIC
from dsh_jax.data.splits.split import Split

_MOST_NAMES = 5  # of classes, in one remark
_MEANING = {
    "query": "trained on and in the database, but not measured",
    "validation item": "not regarded when the checkpoint is chosen",
}


def split_remarks(
    dataset: Dataset,
    split: Split,
    *,
    queries_per_class: int,
    validation_per_class: int,
    given: bool,
) -> list[str]:
    """A line for each part whose size is automatic, and one for classes that lack it.

    Args:
      dataset: with all classes.
      split: drawn from it.
      queries_per_class, validation_per_class: as they were asked for; -1 is automatic.
      given: whether the data itself says which items are held back for validation.
    """
    is_unseen = np.array([name in split.unseen for name in dataset.class_names])
    searched = is_unseen if split.unseen else ~is_unseen  # classes that should have queries
    lines = []
    if queries_per_class == AUTOMATIC:
        tests = "the test items" if dataset.is_test[split.query].all() else ""
        lines.append(_size(dataset, "queries", split.query, shares.LEAST_QUERIES, tests))
        lines += _lacking(dataset, split, "query", split.query, searched, tests)
    if validation_per_class == AUTOMATIC:
        theirs = "the data's own validation items" if given else ""
        least = shares.LEAST_VALIDATION
        lines.append(_size(dataset, "validation", split.validation, least, theirs))
        lines += _lacking(dataset, split, "validation item", split.validation, ~is_unseen, theirs)
    return lines


def _counts(dataset: Dataset, ids: np.ndarray) -> np.ndarray:
    """Items of each class, int `[classes]`."""
    return dataset.multi_hot(ids).sum(axis=0).astype(int)


def _size(dataset: Dataset, part: str, ids: np.ndarray, least: int, source: str) -> str:
    """How many items a part has, and why; `source` names what they are if they are not drawn."""
    some = sorted({*_counts(dataset, ids).tolist()} - {0})
    spread = " to ".join(map(str, dict.fromkeys([*some[:1], *some[-1:]])))
    drawn = (
        f"a tenth of each class (at least {least}, at most {shares.MOST}), here {spread or 'none'};"
        f" data.{part}_per_class sets a number instead"
    )
    return f"{part:<12}{len(ids):,}: {source or drawn}"


def _lacking(
    dataset: Dataset, split: Split, part: str, ids: np.ndarray, wanted: np.ndarray, source: str
) -> list[str]:
    """A warning if there are wanted classes that have no item of a part."""
    without = np.flatnonzero(wanted & (_counts(dataset, ids) == 0))
    if not len(without):
        return []
    labeled = _counts(dataset, split.labeled)
    names = [f"{dataset.class_names[label]!r} ({labeled[label]} labeled)" for label in without]
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    why = f"{source} show none" if source else f"fewer than {shares.SMALLEST} to draw from"
    return [
        f"warning     no {part} of {', '.join(names[:_MOST_NAMES])}{more}: {why}; {_MEANING[part]}"
    ]
