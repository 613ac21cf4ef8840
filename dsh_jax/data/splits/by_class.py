"""Splits drawn with numbers of items per class, for images: fixed ones, or shares of the class.

Published scores on the same data differ by many points with the protocol alone, so a split carries
its protocol ("1000/5000/59000": queries / labeled / database) and a checksum of its ids.
"""

from collections.abc import Callable

import numpy as np

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.splits import shares
from dsh_jax.data.splits.shares import AUTOMATIC
from dsh_jax.data.splits.split import Split
from dsh_jax.errors import UserError
from dsh_jax.rng import stream_rng

# Named protocols: (queries_per_class, labeled_per_class, database), as `draw` takes them.
PROTOCOLS = {
    "1000/5000/59000": (100, 500, "rest"),  # CIFAR-10, as in the papers
    "1000/5000/54000": (100, 500, "unlabeled"),  # CIFAR-10
    "10000/5000/50000": (0, 500, "rest"),  # CIFAR-10, the official test set as queries
    "10000/50000/50000": (0, 0, "rest"),  # CIFAR-10, the whole train set labeled
    "2100/10500/193734": (100, 500, "rest"),  # NUS-WIDE-21, mAP at 5,000
}


def draw(
    dataset: Dataset,
    *,
    seed: int,
    queries_per_class: int,
    labeled_per_class: int,
    database: str,
    validation_per_class: int,
    validation_from: str,
    validation: np.ndarray | None = None,
) -> Split:
    """Draws a split class by class; no item is drawn for two classes.

    Automatic numbers are shares of a class (`splits.shares`). Where items have several labels, the
    rarest class draws first, and items that were drawn for another class count.

    The queries depend on the seed and `queries_per_class` alone, and the labeled items of a smaller
    `labeled_per_class` are among those of a larger one, so that runs with more or fewer labels can
    be compared. If items have several labels, each class draws from the items that no earlier class
    has drawn, and the validation items depend on the labeled ones (not the other way round).

    An item without labels is never relevant and cannot be judged: it is not a query, not in the
    database and not held back. Training may see it, as `unlabeled`, unless it is an official test
    item and these are the queries.

    Args:
      dataset: the items to divide.
      seed: 0 or more.
      queries_per_class: 0 takes the official test items as queries, and all others as train items;
        -1 does so if there are any with a label, and else takes a share of each class.
      labeled_per_class: 0 takes every train item that has a label and is not a query.
      database: "rest" (every item that has a label and is not a query) or "unlabeled" (these
        items except those drawn as labeled).
      validation_per_class: items held back from training; 0 means none, -1 a share of each class.
      validation_from: "unlabeled" (validation stays in the database and is left out of `unlabeled`)
        or "labeled" (taken out of the drawn labeled items; the protocol counts them as labeled).
      validation: bool `[n]`, which items the data itself holds back; used if `validation_per_class`
        is -1 and two of them or more have a label. Neither is any of them drawn as something else.

    Raises:
      UserError: a class has too few items, or an argument is invalid.
    """
    counts = {
        "queries_per_class": queries_per_class,
        "labeled_per_class": labeled_per_class,
        "validation_per_class": validation_per_class,
    }
    _check_arguments(seed, counts, database, validation_from)
    members = [_members(dataset, label) for label in range(len(dataset.class_names))]
    has_label = _mask(dataset, members)
    is_given = _given(validation, has_label, validation_per_class)
    if queries_per_class == AUTOMATIC and (dataset.is_test & has_label).any():
        queries_per_class = counts["queries_per_class"] = 0
    if queries_per_class:
        free = has_label & ~is_given
        orders = _shuffled(members, free, seed, "split/query")
        query = _take(orders, queries_per_class, free, shares.num_queries)
        is_train = ~_mask(dataset, query)
    else:
        if not has_label[dataset.is_test].any():
            raise UserError(
                f"queries_per_class is 0 (the official test items), but {dataset.name} has no"
                " official test items with a label: ask for 1 or more."
            )
        query = _take(members, len(dataset), dataset.is_test)
        is_train = ~dataset.is_test
    is_query = _mask(dataset, query)
    is_train &= ~is_given
    # Labeled items come from the front of an order, unlabeled validation items from its back: if
    # each item has one label, the number of one kind does not affect the other.
    orders = _shuffled(members, is_train, seed, "split/labeled")
    labeled = _take(orders, labeled_per_class or len(dataset), is_train)
    is_labeled = _mask(dataset, labeled)
    if is_given.any():
        held = [ids[is_given[ids]] for ids in members]
    elif validation_from == "labeled":
        held = _take(orders, validation_per_class, is_labeled, shares.num_validation)
    else:
        backwards = [order[::-1] for order in orders]
        free = is_train & ~is_labeled
        held = _take(backwards, validation_per_class, free, shares.num_validation)
    is_held = _mask(dataset, held)
    if queries_per_class == AUTOMATIC and not is_query.any():
        raise _all_too_small(dataset, members, "queries_per_class", shares.LEAST_QUERIES)
    if validation_per_class == AUTOMATIC and not is_held.any():
        raise _all_too_small(dataset, labeled, "validation_per_class", shares.LEAST_VALIDATION)
    for label, ids in enumerate(members):
        drawn = query[label], labeled[label], held[label]
        fell_short = any(len(d) < c for d, c in zip(drawn, counts.values(), strict=True))
        if fell_short or not (is_labeled & ~is_held)[ids].any():
            gone = ids[(is_query | is_labeled | is_held)[ids]]
            others = np.setdiff1d(gone, np.concatenate(drawn))
            raise _too_few(dataset, label, ids, len(others), counts)

    in_database = has_label & ~is_query
    if database == "unlabeled":
        in_database &= ~is_labeled
    if not in_database.any():
        raise UserError(
            f"The database of {dataset.name} would be empty with database={database!r} and"
            f" labeled_per_class={labeled_per_class}: label fewer items, or use database='rest'."
        )
    sizes = [int(mask.sum()) for mask in (is_query, is_labeled, in_database)]
    return Split(
        protocol="/".join(map(str, sizes)),
        dataset=dataset.name,
        version=dataset.version,
        seed=int(seed),
        query=np.flatnonzero(is_query),
        labeled=np.flatnonzero(is_labeled & ~is_held),
        unlabeled=np.flatnonzero(is_train & ~is_labeled & ~is_held),
        validation=np.flatnonzero(is_held),
        database=np.flatnonzero(in_database),
    )


def _members(dataset: Dataset, label: int) -> np.ndarray:
    """The items of a class."""
    of_class = dataset.labels[:, label] > 0 if dataset.multi_label else dataset.labels == label
    return np.flatnonzero(of_class)


def _mask(dataset: Dataset, parts: list[np.ndarray]) -> np.ndarray:
    """Which items are in any of the parts, bool `[n]`."""
    mask = np.zeros(len(dataset), bool)
    mask[np.concatenate(parts)] = True
    return mask


def _shuffled(
    members: list[np.ndarray], free: np.ndarray, seed: int, stream: str
) -> list[np.ndarray]:
    """The free items of each class, each class shuffled by itself."""
    return [
        stream_rng(seed, stream, label).permutation(ids[free[ids]])
        for label, ids in enumerate(members)
    ]


def _take(
    orders: list[np.ndarray],
    count: int,
    free: np.ndarray,
    share: Callable[[np.ndarray], np.ndarray] | None = None,
) -> list[np.ndarray]:
    """The first `count` free items of each order, without those that an earlier order took.

    If `count` is automatic, `share` gives it from the numbers of free items.
    """
    if count == AUTOMATIC:
        assert share is not None
        return shares.take([order[free[order]] for order in orders], share)
    free, taken = free.copy(), []
    for order in orders:
        taken.append(order[free[order]][:count])
        free[taken[-1]] = False
    return taken


def _given(
    validation: np.ndarray | None, has_label: np.ndarray, validation_per_class: int
) -> np.ndarray:
    """Which items the data itself holds back, bool `[n]`: two or more with a label, or none."""
    none = np.zeros(len(has_label), bool)
    if validation is None or validation_per_class != AUTOMATIC:
        return none
    return validation & has_label if (validation & has_label).sum() >= 2 else none


def _check_arguments(
    seed: int, counts: dict[str, int], database: str, validation_from: str
) -> None:
    for name, value in {"seed": seed, **counts}.items():
        automatic = name in ("queries_per_class", "validation_per_class")
        if value < 0 and not (automatic and value == AUTOMATIC):
            more = f", or {AUTOMATIC} for a share of each class" if automatic else ""
            raise UserError(f"{name} is {value}: it must be 0 or more{more}.")
    for name, choice, choices in (
        ("database", database, ("rest", "unlabeled")),
        ("validation_from", validation_from, ("unlabeled", "labeled")),
    ):
        if choice not in choices:
            raise UserError(f"{name} is {choice!r}: it must be one of {', '.join(choices)}.")
    labeled, held = counts["labeled_per_class"], counts["validation_per_class"]
    if held and validation_from == "unlabeled" and labeled == 0:
        raise UserError(
            f"validation_per_class is {held} from the unlabeled items, but labeled_per_class=0"
            " labels them all: use validation_from='labeled', or give labeled_per_class."
        )
    if held and validation_from == "labeled" and 0 < labeled <= held:
        raise UserError(
            f"validation_per_class is {held} out of labeled_per_class={labeled}, which leaves no"
            " labeled item to train on: lower validation_per_class."
        )


def _too_few(
    dataset: Dataset, label: int, members: np.ndarray, others: int, counts: dict[str, int]
) -> UserError:
    """The error of a class with too few items; other classes drew `others` of them."""
    name = f"Class {dataset.class_names[label]!r} of {dataset.name}"
    if not len(members):
        return UserError(f"{name} has no items: remove the class from the data.")
    has = f"{len(members)} items"
    if counts["queries_per_class"] == 0:
        has += f", {int(dataset.is_test[members].sum())} of them test items"
    if others:
        has += f", {others} of them drawn for other classes"
    asked = {field: value for field, value in counts.items() if value > 0}
    if not asked:
        return UserError(
            f"{name} has {has}, and none is left to train on: add items, or draw another split"
            " with data.split_seed."
        )
    largest = max(asked, key=lambda field: asked[field])
    fix = f"lower {largest}"
    if largest != "labeled_per_class":
        fix += f", or set it to {AUTOMATIC} for a share of each class"
    return UserError(
        f"{name} has {has}, too few for {', '.join(f'{f}={v}' for f, v in asked.items())}"
        f" (and at least one labeled item): {fix}."
    )


def _all_too_small(
    dataset: Dataset, labeled: list[np.ndarray], field: str, least: int
) -> UserError:
    """The error of classes of which none is large enough for a share."""
    part = "queries" if field.startswith("queries") else "validation"
    return UserError(
        f"No class of {dataset.name} has the {shares.SMALLEST} labeled items that a share for"
        f" {part} needs, the largest has {max(map(len, labeled), default=0)}: label more items, or"
        f" set data.{field}={least} to take {least} of every class all the same."
    )
