"""Classes that training never sees: it sees the others, and search is among the unseen ones.

Sablayrolles, Douze, Usunier & Jégou: "How should we evaluate supervised hashing?" (ICASSP 2017).
Among classes that were trained on, a classifier's label is a good code; among unseen ones it is
not. This is the strict form: no image of an unseen class takes part in training, with its label or
without, and none is a validation item.
"""

from dataclasses import replace

import numpy as np

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.splits import by_class
from dsh_jax.data.splits.split import Split
from dsh_jax.errors import UserError
from dsh_jax.rng import stream_rng


def draw(
    dataset: Dataset,
    *,
    seed: int,
    unseen_classes: int,
    queries_per_class: int,
    labeled_per_class: int,
    validation_per_class: int,
    validation_from: str,
) -> Split:
    """Draws the unseen classes, and then a split of which each class has a part.

    The split is that of `by_class.draw`, cut down: seen classes keep its labeled, unlabeled and
    validation items, unseen ones its queries and its database. So whether the data suffices does
    not depend on which classes are drawn; and where items have one label, queries and labeled
    items are among those of the same seed and counts without unseen classes.

    An item with labels of both kinds takes no part. Neither does one without labels, as it may show
    an unseen class.

    Args:
      dataset: the items to divide.
      seed: of classes and items, 0 or more.
      unseen_classes: their number, from 2 (among the items of one class all are relevant) to the
        number of classes - 2 (triplets need two).
      queries_per_class, labeled_per_class, validation_per_class, validation_from: as for
        `by_class.draw`.

    Raises:
      UserError: too few or too many unseen classes, a class with too few items, or an invalid
        argument.
    """
    names = dataset.class_names
    if not 2 <= unseen_classes <= len(names) - 2:
        raise UserError(
            f"unseen_classes is {unseen_classes}, but {dataset.name} has {len(names)} classes, at "
            f"least two of which must be unseen and two seen: {_choice(len(names))}."
        )
    is_unseen = np.zeros(len(names), bool)
    is_unseen[stream_rng(seed, "split/classes", 0).permutation(len(names))[:unseen_classes]] = True
    has_unseen, has_seen = (_has(dataset, classes) for classes in (is_unseen, ~is_unseen))
    split = by_class.draw(
        _without(dataset, has_unseen & has_seen, is_unseen),
        seed=seed,
        queries_per_class=queries_per_class,
        labeled_per_class=labeled_per_class,
        database="rest",
        validation_per_class=validation_per_class,
        validation_from=validation_from,
    )

    def only(ids: np.ndarray, having: np.ndarray, lacking: np.ndarray) -> np.ndarray:
        return ids[(having & ~lacking)[ids]]

    searched, training = (has_unseen, has_seen), (has_seen, has_unseen)
    query, database = only(split.query, *searched), only(split.database, *searched)
    labeled, unlabeled = only(split.labeled, *training), only(split.unlabeled, *training)
    validation = only(split.validation, *training)
    for label in np.flatnonzero(is_unseen):
        if not _has(dataset, np.arange(len(names)) == label)[query].any():
            raise UserError(
                f"Class {names[label]!r} of {dataset.name} is unseen and has no official test item,"
                " so queries_per_class=0 gives it no query: ask for 1 or more."
            )
    # As in other protocols, validation items that were drawn as labeled count as labeled.
    num_labeled = len(labeled) + len(validation) * (validation_from == "labeled")
    return replace(
        split,
        protocol=f"unseen {unseen_classes} of {len(names)}, "
        f"{len(query)}/{num_labeled}/{len(database)}",
        dataset=dataset.name,
        query=query,
        labeled=labeled,
        unlabeled=unlabeled,
        validation=validation,
        database=database,
        unseen=tuple(np.asarray(names, object)[is_unseen]),
    )


def of_seen_classes(dataset: Dataset, unseen: tuple[str, ...]) -> Dataset:
    """The data set as training sees it: its classes are the seen ones, in their order.

    Args:
      dataset: with all classes.
      unseen: names of the unseen classes.

    Returns:
      The same items with the same ids. Items of unseen classes have the class id -1, or lose these
      labels; no part of a split of unseen classes that training reads holds such an item.
    """
    if not unseen:
        return dataset
    is_seen = np.array([name not in unseen for name in dataset.class_names])
    if dataset.multi_label:
        labels = dataset.labels[:, is_seen]
    else:
        to_new = np.append(np.where(is_seen, np.cumsum(is_seen) - 1, -1), -1)  # -1 stays -1
        labels = to_new[dataset.labels]
    names = tuple(name for name in dataset.class_names if name not in unseen)
    return replace(dataset, labels=labels.astype(dataset.labels.dtype), class_names=names)


def _has(dataset: Dataset, classes: np.ndarray) -> np.ndarray:
    """Which items have a label among the given classes, bool `[classes]` -> bool `[n]`."""
    if dataset.multi_label:
        return np.asarray(dataset.labels[:, classes].any(axis=1))
    return np.append(classes, False)[dataset.labels]  # -1, no label, takes the last


def _without(dataset: Dataset, mixed: np.ndarray, is_unseen: np.ndarray) -> Dataset:
    """The data set with the labels of mixed items removed, so that none of them is drawn."""
    if not mixed.any():
        return dataset
    labels = np.where(mixed[:, None], 0, dataset.labels).astype(dataset.labels.dtype)
    for label in np.flatnonzero(~np.any(labels, axis=0)):
        own, other = ("unseen", "seen") if is_unseen[label] else ("seen", "unseen")
        raise UserError(
            f"Every image of the {own} class {dataset.class_names[label]!r} of {dataset.name} also "
            f"has a label of the {other} classes: choose another split_seed or unseen_classes."
        )
    called = f"{dataset.name} (without images that have labels of seen and of unseen classes)"
    return replace(dataset, name=called, labels=labels)


def _choice(classes: int) -> str:
    if classes < 4:
        return "set it to 0"
    return f"choose from 2 to {classes - 2}, or 0 for none"
