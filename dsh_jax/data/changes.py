"""A user's data that has changed since a split was drawn, with the ids that the split knows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.known_items import FILE, KnownItems
from dsh_jax.data.splits.split import ID_FIELDS, Split
from dsh_jax.errors import UserError
from dsh_jax.report.names import short

_MOST, _LONGEST = 10, 100  # names in a line, and characters of one


def follow(dataset: Dataset, items: KnownItems, split: Split) -> tuple[Dataset, Split]:
    """Gives every known item the id that a split knows it by; new items have ids after these.

    An item is the same if it has its name and content, or its content under another name. One that
    is gone, or whose content has changed, is taken out of the split; one whose labels have changed,
    out of queries and database. New items have no role.

    Args:
      dataset: as it was read.
      items: that the split was drawn from.
      split: of them.

    Returns:
      The data with the ids, classes and version of `items`, and with a line about each kind of
      change in `changes`; and the split of what is as it was.

    Raises:
      UserError: labels that training uses have changed; or no query or no database is left.
    """
    if items.version != split.version:
        raise UserError(
            f"{FILE} and split.json are of different data ({items.version} and {split.version}): "
            "restore the one that was changed."
        )
    rows = _rows_of(items, dataset)
    gone, new = rows < 0, np.setdiff1d(np.arange(len(dataset)), rows)
    labels = _labels_by(items, dataset)
    differs = labels[rows] != items.labels
    relabeled = ~gone & (differs.any(axis=1) if differs.ndim == 2 else differs)
    _check_training(dataset, items, split, rows, relabeled)
    left = _without(split, gone, relabeled)
    if not len(left.query) or not len(left.database):
        raise UserError(
            f"of this run's {len(split.query):,} queries and {len(split.database):,} database items"
            f" {len(left.query):,} and {len(left.database):,} are in {dataset.name}: name the"
            " folder or the file that they are in, or choose another --workdir."
        )
    lines = tuple(_lines(dataset, items, split, rows, new, relabeled))
    same_form = (dataset.class_names, dataset.labels.ndim) == (items.class_names, items.labels.ndim)
    every = np.concatenate([rows, new])
    if same_form and np.array_equal(every, np.arange(len(dataset))):  # without a copy of all images
        return replace(dataset, version=split.version, changes=lines), left
    labels, names = labels[every], [dataset.names[row] for row in every]
    labels[every < 0] = items.labels[gone]
    for item in np.flatnonzero(gone):
        names[item] = items.names[item]
    return dataset.arranged(
        every, version=split.version, labels=labels, class_names=items.class_names,
        names=tuple(names), changes=lines,
        contents=tuple(dataset.contents[row] if row >= 0 else "" for row in every),
    ), left  # fmt: skip


def _rows_of(items: KnownItems, dataset: Dataset) -> np.ndarray:
    """The row of each known item, or -1, `[n]`."""
    row_of = {name: row for row, name in enumerate(dataset.names)}
    rows = np.array([row_of.get(name, -1) for name in items.names], np.int64)
    for item, row in enumerate(rows):
        if row >= 0 and dataset.contents[row] != items.contents[item]:
            rows[item] = -1
    # Under other names, where the content tells which item it is: no two items share it.
    lost = [item for item in np.flatnonzero(rows < 0).tolist() if items.contents[item]]
    free = np.setdiff1d(np.arange(len(dataset)), rows)
    item_of = _unique({item: items.contents[item] for item in lost})
    for content, row in _unique({row: dataset.contents[row] for row in free.tolist()}).items():
        if content in item_of:
            rows[item_of[content]] = row
    return rows


def _unique(contents: dict[int, str]) -> dict[str, int]:
    """Content -> its row, for the contents of one row only."""
    counts = Counter(contents.values())
    return {content: row for row, content in contents.items() if counts[content] == 1}


def _labels_by(items: KnownItems, dataset: Dataset) -> np.ndarray:
    """Labels of the data by the classes and in the form of known items; others are left out."""
    if items.labels.ndim == 1 and not dataset.multi_label:
        ids = {name: label for label, name in enumerate(items.class_names)}
        known = [ids.get(name, -1) for name in dataset.class_names]
        return np.array([*known, -1], np.int32)[dataset.labels]  # -1, for no label, takes the last
    hot = np.zeros((len(dataset), len(items.class_names)), np.uint8)
    column = {name: label for label, name in enumerate(dataset.class_names)}
    for label, name in enumerate(items.class_names):
        if name in column:
            hot[:, label] = (dataset.labels[:, column[name]] if dataset.multi_label
                             else dataset.labels == column[name])  # fmt: skip
    if items.labels.ndim == 2:
        return hot
    return np.where(hot.sum(axis=1) == 1, hot.argmax(axis=1), -1).astype(np.int32)


def _check_training(
    dataset: Dataset, items: KnownItems, split: Split, rows: np.ndarray, relabeled: np.ndarray
) -> None:
    used = np.union1d(split.labeled, split.validation)
    changed = used[relabeled[used]]
    if not len(changed):
        return
    first = changed[0]
    was = items.labels[first]
    before = [items.class_names[k] for k in (np.flatnonzero(was) if was.ndim else [was])]
    now = np.asarray(dataset.class_names, object)[dataset.multi_hot(rows[[first]])[0] > 0]
    words = (short(", ".join(names), _LONGEST) or "no label" for names in (before, now))
    raise UserError(
        f"the labels of {_count(len(changed), 'item')} that this run has learned from have changed "
        f"(the first is {short(items.names[first], _LONGEST)}: {' before, '.join(words)} now): "
        "restore them, or choose another --workdir to train with the new ones."
    )


def _without(split: Split, gone: np.ndarray, relabeled: np.ndarray) -> Split:
    """The split of what is left; the protocol says how many items it has lost."""
    lost = {"query": gone | relabeled, "database": gone | relabeled}
    ids = {role: getattr(split, role) for role in ID_FIELDS}
    left = {role: of_role[~lost.get(role, gone)[of_role]] for role, of_role in ids.items()}
    missing = {item for role in ID_FIELDS for item in np.setdiff1d(ids[role], left[role])}
    if not missing:
        return split
    return replace(split, protocol=f"{split.protocol}, {len(missing):,} left out", **left)


def _lines(
    dataset: Dataset, items: KnownItems, split: Split, rows: np.ndarray, new: np.ndarray,
    relabeled: np.ndarray,
) -> list[str]:  # fmt: skip
    """What has changed, in a line for each kind of change."""
    names = set(dataset.names)
    gone = [item for item in np.flatnonzero(rows < 0) if items.contents[item]]
    changed = [items.names[item] for item in gone if items.names[item] in names]
    lost = [items.names[item] for item in gone if items.names[item] not in names]
    moved = [f"{items.names[item]} -> {dataset.names[row]}" for item, row in enumerate(rows)
             if row >= 0 and dataset.names[row] != items.names[item]]  # fmt: skip
    added = [name for name in (dataset.names[row] for row in new) if name not in {*changed}]
    measured = np.union1d(split.query, split.database)
    other = [items.names[item] for item in measured[relabeled[measured]]]
    strange = sorted({*dataset.class_names} - {*items.class_names})
    kinds = [
        ("new", added, "can be found now, and the measured split stays as it was drawn"),
        ("moved", moved, "known by content under another name"),
        ("lost", lost, "no longer there, and left out of what is measured"),
        ("changed", changed, "with another content, which can be found and is not measured"),
        ("relabeled", other, "with other labels than at the time of the split, and not measured"),
    ]
    lines = [f"{kind:12}{_count(len(named), 'item')} {what}: {_listed(named)}"
             for kind, named, what in kinds if named]  # fmt: skip
    if strange:
        lines.append(
            f"{'classes':12}{_count(len(strange), 'class')} unknown to this run, whose items can be"
            f" found and have no label here: {_listed(strange)}"
        )
    return lines


def _count(number: int, what: str) -> str:
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{number:,} {what if number == 1 else plural}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST:,} more" if len(names) > _MOST else ""
    return ", ".join(short(name, _LONGEST) for name in names[:_MOST]) + more
