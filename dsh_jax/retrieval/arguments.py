"""Checks of arguments that several modules share."""

import operator
from typing import Any

_MOST = 2**31 - 1


def as_integer(value: Any, name: str, least: int) -> int:
    """An argument as a Python integer; NumPy's integers count, True and 2.0 do not.

    Raises:
      ValueError: it is no integer, or out of range.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or not least <= number <= _MOST:
        raise ValueError(f"{name} must be an integer from {least} to {_MOST}, got {value!r}")
    return number
