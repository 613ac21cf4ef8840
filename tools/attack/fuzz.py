"""Absurd values in every field of every config: each is refused in one sentence, or works."""

import importlib
import math
import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax.errors import UserError
from dsh_jax.training.experiment import prepare

VALUES: Mapping[str, Any] = {
    "wrong type": object,
    "negative": -1,
    "zero": 0,
    "huge": 10**12,
    "beyond floats": 10**400,
    "huge float": 1e30,
    "NaN": math.nan,
    "infinity": math.inf,
    "empty": "",
    "unicode": "\u5b57\U0001f600\u202e",
    "null character": "a\0b",
    "half a character": "\ud800",
    "None": None,
    "list": [1, "a"],
    "group": {"a": 1},
    "switch": True,
}
"""Name -> the value; `object` stands for a value of another type than the field's own."""

_ABSENT = object()
_BITS = ("cifar10", "cnnh_cifar10", "cnnh_plus_cifar10", "nus_wide")
_NO_CONFIGS = ("__init__", "cnnh", "shttm", "shttm_neural", "image_files")


def shipped(folder: Path) -> dict[str, ConfigDict]:
    """The configs of a folder by name."""
    configs = {}
    for path in sorted(folder.glob("*.py")):
        if path.stem not in _NO_CONFIGS:
            module = importlib.import_module(f"configs.{path.stem}")
            configs[path.stem] = module.get_config(*(["8"] if path.stem in _BITS else []))
    return configs


def changed(config: ConfigDict) -> Iterator[tuple[str, ConfigDict]]:
    """The config with one field or group changed, misspelt or left out, in all ways.

    Returns:
      Each change in words, and the config with it.
    """
    names = fields.names(config)
    groups = sorted({name.rpartition(".")[0] for name in names} - {""})
    for field in [*names, *groups]:
        own = fields.get(config, field)
        for kind, value in VALUES.items():
            if value is object:
                value = 1.5 if isinstance(own, str | int) else "a word"
            yield f"{field} = {kind}", with_value(config, field, value)
    for field in (*names, *groups):
        yield f"no {field}", with_value(config, field, _ABSENT)
        misspelt = f"{field[:-1]}{'x' if field[-1] != 'x' else 'y'}"
        yield f"{misspelt} beside {field}", with_value(config, misspelt, 1)


def with_value(config: ConfigDict, field: str, value: Any) -> ConfigDict:
    """A copy of a config in which a field has a value of any type."""
    copy = config.copy_and_resolve_references().unlock()
    *outer, last = field.split(".")
    group = copy
    for name in outer:
        group = group[name]
    if last in group:
        del group[last]
    if value is not _ABSENT:
        group[last] = ConfigDict(value) if isinstance(value, dict) else value
    return copy


def fault(call: Any, *arguments: Any) -> str | None:
    """What is wrong with how a call ends; None if it succeeds or is refused in one sentence."""
    try:
        call(*arguments)
    except (UserError, OSError) as error:
        message = str(error)
        one = message.endswith(".") or isinstance(error, OSError)
        return None if one and "\n" not in message else f"no sentence: {message!r}"
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return None


def check(config: ConfigDict, workdir: Path, share: float, rng: random.Random) -> list[str]:
    """Prepares a share of all changed configs; returns what went wrong, with what.

    Args:
      config: to be changed.
      workdir: a folder that stays empty.
      share: of the changes, drawn from `rng`; 1 is all.
      rng: draws them.
    """
    found = []
    for change, absurd in changed(config):
        if rng.random() >= share:
            continue
        began = time.monotonic()
        wrong = fault(prepare, absurd, workdir)
        if time.monotonic() - began > 60:
            wrong = f"{wrong or 'right'}, after {time.monotonic() - began:.0f} s"
        if wrong:
            found.append(f"{change}: {wrong}")
    return found
