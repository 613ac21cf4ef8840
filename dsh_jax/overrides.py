"""`--config.field=value` on a command line: which fields it sets, and whether they can be so."""

import ast
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from absl import flags
from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax.errors import UserError


class Override(NamedTuple):
    """A field that a command line sets.

    Attributes:
      field: its dotted name.
      value: as written; None where there is none, as in `--config.gan`.
      joined: whether the value follows a "=", rather than a space.
    """

    field: str
    value: str | None
    joined: bool


def overrides_in(arguments: Sequence[str], name: str = "config") -> list[Override]:
    """The fields that arguments set, in their order."""
    found = []
    for argument, following in zip(arguments, [*arguments[1:], None], strict=True):
        if argument == "--":
            break
        match = re.match(rf"--?(?P<no>no)?{name}\.(?P<field>[^=]*)(?P<value>=.*)?$", argument, re.S)
        if not match:
            continue
        value = match["value"]
        if match["no"]:
            found.append(Override(match["field"], "false", True))
        elif value is not None:
            found.append(Override(match["field"], value[1:], True))
        else:
            is_flag = following is None or re.match("--?[a-zA-Z]", following)
            found.append(Override(match["field"], None if is_flag else following, False))
    return found


def config_overrides(arguments: Sequence[str]) -> list[str]:
    """The overrides as `--config.field=value`, however they were written."""
    return [
        f"--config.{field}" if value is None else f"--config.{field}={value}"
        for field, value, _ in overrides_in(arguments)
    ]


def check(config: ConfigDict, arguments: Sequence[str]) -> None:
    """Refuses overrides of fields that do not exist, and values of another type than the field's.

    Raises:
      UserError: names the most similar field, or the values that the field takes.
    """
    known = fields.names(config)
    groups = {name[:end] for name in known for end, letter in enumerate(name) if letter == "."}
    for field, value, joined in overrides_in(arguments):
        if field not in groups.union(known):
            raise UserError(
                f"the config has no field {fields.shown(field)[1:-1]}; "
                f"{fields.did_you_mean(field, known)}"
            )
        now = fields.get(config, field)
        if value is None or not (joined or not isinstance(now, bool)):
            continue
        problem = _problem(now, value, f"--config.{field}")
        if problem:
            raise UserError(f"--config.{field} is {fields.shown(value)}; {problem}.")


def _problem(now: Any, value: str, flag: str) -> str:
    """How to write a value of the same type as a field's now; empty if it is one already."""
    kinds: dict[type, tuple[flags.ArgumentParser, str]] = {
        bool: (flags.BooleanParser(), "True or False"),
        int: (flags.IntegerParser(), "an integer"),
        float: (flags.FloatParser(), "a number"),
    }
    if type(now) in kinds:
        parser, wanted = kinds[type(now)]
        try:
            parser.parse(value)
        except (ValueError, TypeError, OverflowError):
            return f"set it to {wanted}"
    if isinstance(now, ConfigDict):
        try:
            fits = isinstance(ast.literal_eval(value), dict)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            fits = False
        if not fits:
            one = next(iter(now), "NAME")
            return f"it is a group of fields, so set one of them, as in {flag}.{one}=VALUE"
    return ""
