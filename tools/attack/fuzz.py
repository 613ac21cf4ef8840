"""Absurd values in every field of every config: each is refused in one sentence, or works."""

import importlib
import math
import random
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax.errors import UserError
from dsh_jax.training.experiment import prepare
from tools.attack.config import CASES, DOCUMENTS, get_config
from tools.attack.report import Report
from tools.attack.runs import ROOT, Fault, Scratch, in_fork

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

SECONDS = 60
"""What preparing a run may take."""

_ABSENT = object()
# What follows the colon after a config's name.
_ARGUMENTS = {"cifar10": "8", "cnnh_cifar10": "8", "cnnh_plus_cifar10": "8", "nus_wide": "8",
              "cifar10_arms": "gan", "digits_arms": "gan",
              "documents_arms": "reuters-all"}  # fmt: skip
_NO_CONFIGS = ("__init__", "arms", "best", "cnnh", "image_files", "nash", "shttm", "shttm_neural",
               "variational", "vdsh")  # fmt: skip


def shipped(folder: Path) -> dict[str, ConfigDict]:
    """The configs of a folder by name."""
    configs = {}
    for path in sorted(folder.glob("*.py")):
        if path.stem not in _NO_CONFIGS:
            module = importlib.import_module(f"configs.{path.stem}")
            argument = _ARGUMENTS.get(path.stem)
            configs[path.stem] = module.get_config(*([argument] if argument else []))
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


def check(
    config: ConfigDict, workdir: Path, share: float, rng: random.Random
) -> tuple[int, list[str], list[tuple[int, str]]]:
    """Prepares a share of all changed configs.

    Args:
      config: to be changed.
      workdir: a folder that stays empty.
      share: of the changes, drawn from `rng`; 1 is all.
      rng: draws them.

    Returns:
      How many were tried; what went wrong, with what; and the numbers and names of the changes
      that were accepted.
    """
    def hangs(*_: object) -> None:
        raise RuntimeError(f"it still ran after {SECONDS} s")

    signal.signal(signal.SIGALRM, hangs)
    tried, found, accepted = 0, [], []
    for number, (change, absurd) in enumerate(changed(config)):
        if rng.random() >= share:
            continue
        tried += 1

        def prepared(absurd: ConfigDict = absurd, at: tuple[int, str] = (number, change)) -> None:
            prepare(absurd, workdir)
            accepted.append(at)

        signal.alarm(SECONDS)
        wrong = fault(prepared)
        signal.alarm(0)
        if wrong:
            found.append(f"{change}: {wrong}")
    return tried, found, accepted


def attack(scratch: Scratch, rng: random.Random, scale: float, report: Report) -> None:
    """Prepares every change of every config, and trains 40 of those that are accepted."""
    absent = scratch / "no_data"
    configs = {name: (config, absent) for name, config in shipped(ROOT / "configs").items()}
    configs |= {name: (get_config(name), scratch.corpus) for name in CASES}
    accepted: list[tuple[str, int, str]] = []
    for name, (config, data_dir) in configs.items():
        if name not in CASES or name in DOCUMENTS:
            config.data.data_dir = str(data_dir)
        share = min(1.0, scale)
        tried, wrong, taken = in_fork(_check, config, scratch / "fuzz", share, rng.random())
        report.trials += tried
        for line in wrong:
            report.fault(f"{name}: {line}")
        if name in CASES:
            accepted += [(name, number, change) for number, change in taken]
        print(f"fuzz: {name}: {tried} changes, {len(wrong)} faults", flush=True)
    for number, (name, change_number, change) in enumerate(
        rng.sample(accepted, min(len(accepted), round(40 * scale)))
    ):
        config, _ = configs[name]
        with report.trial(f"{name}, trained with {change}"):
            wrong = in_fork(_train, config, change_number, scratch / f"fuzz_{number}")
            if wrong:
                raise Fault(wrong)
            report.outcomes["trained"] += 1


def _check(
    config: ConfigDict, workdir: Path, share: float, seed: float
) -> tuple[int, list[str], list[tuple[int, str]]]:
    return check(config, workdir, share, random.Random(seed))


def _train(config: ConfigDict, number: int, workdir: Path) -> str | None:
    from dsh_jax.training.loop import train

    absurd = next(made for index, (_, made) in enumerate(changed(config)) if index == number)
    return fault(train, absurd, workdir, {"command": "attack"})
