"""Functions of a user's own, named as "module:function"."""

import importlib
from typing import Any


def load(name: str) -> Any:
    """What `"module:function"` names.

    Raises:
      Exception: of any type: the module is a user's, and importing it runs it.
    """
    module, _, function = name.rpartition(":")
    if not module or module.startswith("."):
        raise ValueError("it should read module:function")
    found = importlib.import_module(module)
    if not hasattr(found, function):
        raise ValueError(f"module {module!r} has no {function!r}")
    return getattr(found, function)
