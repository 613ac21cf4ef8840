"""Metrics of a user's own: functions of codes and labels, named as "module:function".

A metric takes the codes of some items, uint8 `[n, num_bits]` of 0 and 1, and their labels, class
ids int32 `[n]` or multi-hot uint8 `[n, classes]`, and returns one number. The items are those of
validation while training, and the queries in an evaluation.
"""

import importlib.util
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dsh_jax.errors import UserError, reason
from dsh_jax.functions import load
from dsh_jax.rng import stream_rng

Metric = Callable[[np.ndarray, np.ndarray], Any]
_ITEMS = 16  # that a metric is tried on
_TAKEN = ("map", "accuracy")  # what training measures already, as validation_map


def find(names: Iterable[str], field: str = "metrics") -> dict[str, Metric]:
    """The metrics that a config or a flag names, by the names of their functions.

    Args:
      names: each as "module:function".
      field: where they are named, for errors.

    Raises:
      UserError: one cannot be imported, is no function, or has the name of another.
    """
    found: dict[str, Metric] = {}
    for name in filter(None, names):  # an empty one is none
        try:
            metric = _load(name)
        except (Exception, SystemExit) as error:  # a user's module may raise anything
            raise UserError(
                f"{field} has {name!r}, which cannot be loaded ({reason(error)}); name a function "
                "as 'module:function', with the module beside train.py or on PYTHONPATH."
            ) from error
        short = _short(name)
        if short in found or short in _TAKEN:
            raise UserError(
                f"{field} has {name!r}, and there is a metric named {short} already; rename the "
                "function."
            )
        found[short] = metric
    return found


def _load(name: str) -> Metric:
    metric = load(name)
    if not callable(metric) or inspect.isclass(metric):
        raise ValueError(f"{_short(name)!r} is not a function")
    return metric


def _short(name: str) -> str:
    return name.rpartition(":")[2]


def try_on(
    metrics: Mapping[str, Metric], *, num_bits: int, classes: int, multi_label: bool
) -> None:
    """Calls metrics with a few random codes, so that mistakes show before any long work.

    Args:
      metrics: by name.
      num_bits: of a code.
      classes: number of classes.
      multi_label: whether labels are multi-hot.

    Raises:
      UserError: a metric does not take codes and labels, fails on them, or returns no number.
    """
    rng = stream_rng(0, "metrics", 0)
    codes = rng.integers(0, 2, (_ITEMS, num_bits), np.uint8)
    labels = np.arange(_ITEMS, dtype=np.int32) % max(classes, 1)
    if multi_label:
        labels = (labels[:, None] == np.arange(classes)).astype(np.uint8)
    shape = "n, classes" if multi_label else "n"
    for name, metric in metrics.items():
        takes = f"codes [n, num_bits], labels [{shape}]"
        try:
            value = metric(codes.copy(), labels.copy())
        except Exception as error:  # a user's function may raise anything
            raise UserError(
                f"metric {name!r} fails on ({takes}): {reason(error)}; fix the function."
            ) from error
        if _number(value) is None:
            raise UserError(
                f"metric {name!r} returns {_described(value)} on ({takes}); let it return one "
                "number."
            )


def measure(
    metrics: Mapping[str, Metric], codes: np.ndarray, labels: np.ndarray
) -> tuple[dict[str, float], dict[str, str]]:
    """The values of metrics, and a sentence about each one that has none.

    A metric that fails here does not end what it is part of, which may have taken hours.

    Args:
      metrics: by name.
      codes: uint8 `[n, num_bits]`, 0 and 1.
      labels: int32 `[n]` or uint8 `[n, classes]`.
    """
    values: dict[str, float] = {}
    problems: dict[str, str] = {}
    for name, metric in metrics.items():
        try:
            value = _number(metric(codes.copy(), np.array(labels)))
        except Exception as error:  # a user's function may raise anything
            problems[name] = f"metric {name!r} fails: {reason(error)}; it is left out."
            continue
        if value is None or not np.isfinite(value):
            problems[name] = f"metric {name!r} is not a finite number; it is left out."
        else:
            values[name] = value
    return values, problems


def of_workdir(names: Any, workdir: Path) -> tuple[dict[str, Metric], list[str]]:
    """The metrics that a workdir's config names, and a sentence about each one left out.

    A module may be gone since the training, and a workdir may be a stranger's: a module in it, or
    in a folder that holds it, is not imported.
    """
    found: dict[str, Metric] = {}
    left_out = []
    for name in filter(None, map(str, names if isinstance(names, tuple | list) else ())):
        try:
            if _is_of(workdir, name):
                raise ValueError("its module is in the workdir or in a folder around it")
            found[_short(name)] = _load(name)
        except (Exception, SystemExit) as error:  # a user's module may raise anything
            left_out.append(
                f"metric {name!r} is left out ({reason(error)}); put its module beside eval.py or "
                "on PYTHONPATH, and name it with --metrics."
            )
    return found, left_out


def _is_of(workdir: Path, name: str) -> bool:
    """Whether a module's file comes with a workdir. Nothing is imported to find out."""
    top = name.partition(":")[0].partition(".")[0]
    try:
        spec = importlib.util.find_spec(top) if top else None
    except (ImportError, ValueError):
        return False  # importing it will fail, too
    if spec is None:
        return False
    folder = workdir.resolve()
    origin = [spec.origin] if spec.has_location and spec.origin else []
    folders = spec.submodule_search_locations or ()
    places = [Path(place).resolve() for place in (*origin, *folders)]
    return any(place.is_relative_to(folder) or folder.is_relative_to(place) for place in places)


def _number(value: Any) -> float | None:
    """A result as a float; None if it is not one real number."""
    try:
        array = np.asarray(value)
    except Exception:
        return None
    if array.shape != () or array.dtype.kind not in "biuf":
        return None
    return float(array)


def _described(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if shape:
        return f"{value.dtype} [{', '.join(map(str, shape))}]"
    return "nothing" if value is None else f"a {type(value).__name__}"
