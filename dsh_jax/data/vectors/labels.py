"""Labels, ids and marks of vectors, in the forms that users have them in."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dsh_jax.data.labels import as_labels
from dsh_jax.data.vectors.columns import Values
from dsh_jax.errors import UserError

_FORMS = (
    "labels are integers (-1 for none), rows of 0 and 1, names ('' for none, several joined by "
    "';') or lists of names"
)


def read_labels(
    values: Values, names: Sequence[str], what: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels in any form, and the names of the classes that occur.

    Args:
      values: class ids `[n]`, -1 for none; multi-hot `[n, classes]`; or a list of names, of lists
        of names or ids, or of None.
      names: of classes by id; empty for the ids themselves.
      what: the labels are called, for errors.

    Returns:
      As in `Dataset`: class ids int32 `[n]` if no item has several labels, -1 for none; or
      multi-hot uint8 `[n, classes]`. Classes that no item has are left out; the others are in the
      order of their ids, or of their names.

    Raises:
      UserError: the values are in no such form.
    """
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iu":
        if values.size and values.min() < -1:
            raise UserError(f"{what} have {values.min()} in row {values.argmin()}; {_FORMS}.")
        order = np.unique(values[values >= 0])
        found = np.searchsorted(order, values)  # not one by one: they may be millions
        labels = np.where(values < 0, -1, found).astype(np.int32)
        return labels, _named(order.tolist(), names, what)
    of_items = _as_lists(values, what)
    seen = {label for labels in of_items for label in labels}
    if len({type(label) for label in seen}) > 1:
        raise UserError(f"{what} are integers and names at once; {_FORMS}.")
    shown = dict(zip(sorted(seen), _named(sorted(seen), names, what), strict=True))
    of_items = [[shown[label] for label in labels] for labels in of_items]
    return as_labels(of_items, list(shown.values())), tuple(shown.values())


def _named(order: Sequence[Any], names: Sequence[str], what: str) -> tuple[str, ...]:
    """The names of the classes that occur, which are ids or names already."""
    shown = tuple(map(str, order))
    if names and order and isinstance(order[0], int):
        if order[-1] >= len(names):
            raise UserError(
                f"{what} have the class {order[-1]}, but there are {len(names)} class names; name "
                "every class, one a line."
            )
        shown = tuple(names[label] for label in order)
    if len({*shown}) < len(order):
        raise UserError(f"two classes of {what} have one name; give each class its own.")
    return shown


def _as_lists(values: Values, what: str) -> list[list[Any]]:
    """The labels of each item."""
    if isinstance(values, np.ndarray):
        if values.ndim == 2 and values.dtype.kind in "biu":
            if values.size and not np.isin(values, (0, 1)).all():
                raise UserError(f"{what} are a matrix with values other than 0 and 1; {_FORMS}.")
            return [np.flatnonzero(row).tolist() for row in values]
        if values.ndim != 1 or values.dtype.kind not in "iuUb":
            shape = "x".join(map(str, values.shape))
            raise UserError(f"{what} are {values.dtype} of shape {shape}; {_FORMS}.")
        values = values.astype(int).tolist() if values.dtype.kind == "b" else values.tolist()
    return [_of_item(row, value, what) for row, value in enumerate(values)]


def _of_item(row: int, value: Any, what: str) -> list[Any]:
    if value is None or value == -1:
        return []
    several = value.split(";") if isinstance(value, str) else value
    several = [several] if isinstance(several, int) else several
    if isinstance(several, list):
        found = [each.strip() if isinstance(each, str) else each for each in several]
        found = [each for each in found if each not in ("", None)]
        if all(isinstance(each, str) or (type(each) is int and each >= 0) for each in found):
            return found
    raise UserError(f"{what} have {value!r:.60} in row {row}; {_FORMS}.")


def read_ids(values: Values, what: str) -> tuple[str, ...]:
    """Ids as strings.

    Raises:
      UserError: they are no strings or integers, or one is there twice.
    """
    ids = _strings(values, what)
    rows: dict[str, int] = {}
    for row, name in enumerate(ids):
        if rows.setdefault(name, row) != row:
            raise UserError(
                f"{what} have {name[:60]!r} in row {rows[name]} and again in row {row}; give each "
                "vector an id of its own."
            )
    return ids


def read_strings(values: Values, what: str) -> tuple[str, ...]:
    """Strings; missing ones are empty.

    Raises:
      UserError: they are something else.
    """
    return _strings(["" if value is None else value for value in _listed(values)], what)


def read_marks(values: Values, what: str) -> np.ndarray:
    """True or False for each item, bool `[n]`; 1 and 0 are so too.

    Raises:
      UserError: they are something else.
    """
    found = np.asarray(values)
    if found.ndim != 1 or found.dtype.kind not in "biu" or not np.isin(found, (0, 1)).all():
        raise UserError(f"{what} are not all True or False, or 1 or 0; write one a row.")
    return found.astype(bool)


def check_length(values: Values, count: int, what: str) -> Values:
    """Refuses a column that has not one value for each vector.

    Raises:
      UserError: says how many it has.
    """
    if len(values) != count:
        raise UserError(
            f"there are {len(values):,} {what}, but {count:,} vectors; give one to each vector."
        )
    return values


def _listed(values: Values) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def _strings(values: Values, what: str) -> tuple[str, ...]:
    listed = _listed(values)
    wrong = next((row for row, value in enumerate(listed) if type(value) not in (str, int)), None)
    if wrong is not None:
        raise UserError(
            f"{what} have {listed[wrong]!r:.60} in row {wrong}; they are strings or integers."
        )
    return tuple(map(str, listed))
