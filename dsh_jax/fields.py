"""Valid values of config fields: one rule per field, checked in one place."""

import difflib
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ml_collections import ConfigDict

from dsh_jax.errors import UserError


class Rule(Protocol):
    """Which values a field may have."""

    def allows(self, value: Any) -> bool:
        """Whether the field may have this value."""

    @property
    def allowed(self) -> str:
        """The values it may have, as a phrase to follow "set it to"."""


@dataclass(frozen=True)
class Integer:
    """An integer of `least` or more, and of `most` or less if that is given."""

    least: int
    most: int | None = None

    def allows(self, value: Any) -> bool:
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self.least <= value and (self.most is None or value <= self.most)

    @property
    def allowed(self) -> str:
        if self.most is None:
            return f"an integer of {self.least} or more"
        return f"an integer from {self.least} to {self.most}"


SEED = Integer(0, most=2**32 - 1)
"""A seed: of a larger one JAX keeps the last 32 bits only, and scikit-learn takes none."""


@dataclass(frozen=True)
class Number:
    """A finite number from `least` to `most`, above `above` and below `below`; never NaN."""

    least: float = -math.inf
    above: float = -math.inf
    below: float = math.inf
    most: float = math.inf

    def allows(self, value: Any) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        try:
            finite = math.isfinite(value)
        except OverflowError:  # an integer beyond the range of floats
            return False
        return finite and self.least <= value <= self.most and self.above < value < self.below

    @property
    def allowed(self) -> str:
        bounds = [f"of {self.least:g} or more"] * (self.least > -math.inf)
        bounds += [f"above {self.above:g}"] * (self.above > -math.inf)
        bounds += [f"below {self.below:g}"] * (self.below < math.inf)
        bounds += [f"at most {self.most:g}"] * (self.most < math.inf)
        return " ".join(["a finite number", " and ".join(bounds)]).rstrip()


@dataclass(frozen=True)
class Choice:
    """One of several strings."""

    options: tuple[str, ...]

    def allows(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.options

    @property
    def allowed(self) -> str:
        return f"one of {list(self.options)}"


@dataclass(frozen=True)
class Switch:
    """True or False."""

    def allows(self, value: Any) -> bool:
        return isinstance(value, bool)

    @property
    def allowed(self) -> str:
        return "True or False"


@dataclass(frozen=True)
class Text:
    """Any string that can be the name of a file: Unicode without a null character."""

    def allows(self, value: Any) -> bool:
        if not isinstance(value, str) or "\0" in value:
            return False
        try:
            value.encode()
        except UnicodeEncodeError:  # half of a surrogate pair
            return False
        return True

    @property
    def allowed(self) -> str:
        return "a string of valid characters"


@dataclass(frozen=True)
class Pattern:
    """A regular expression with one group at most."""

    def allows(self, value: Any) -> bool:
        try:
            return Text().allows(value) and bool(value) and re.compile(value).groups <= 1
        except (re.error, RecursionError, OverflowError):
            return False

    @property
    def allowed(self) -> str:
        return r"a regular expression with one group at most, such as '(?u)\b\w+\b'"


@dataclass(frozen=True)
class Names:
    """A tuple of functions, each as "module:function"; empty names, of `--config.x=`, are none."""

    def allows(self, value: Any) -> bool:
        return isinstance(value, tuple | list) and all(
            Text().allows(name) and (":" in name or not name) for name in value
        )

    @property
    def allowed(self) -> str:
        return "a tuple of functions, such as ('my_metrics:auc',), or () for none"


Rules = Mapping[str, Rule]
"""Dotted names of config fields, each with its rule."""


def get(config: Mapping[str, Any] | ConfigDict, field: str) -> Any:
    """The value of a field by its dotted name, e.g. `"loss.triplet"`.

    Raises:
      UserError: the config has no such field.
    """
    value: Any = config
    for name in field.split("."):
        if not isinstance(value, Mapping | ConfigDict) or name not in value:
            raise UserError(f"the config has no field {field}; add it, as in configs/default.py.")
        value = value[name]
    return value


def has(config: Mapping[str, Any] | ConfigDict, field: str) -> bool:
    """Whether a config has a field, by its dotted name; even one whose value is a group."""
    try:
        get(config, field)
    except UserError:
        return False
    return True


def shown(value: Any) -> str:
    """A value as an error shows it: on one line, and short."""
    try:
        text = repr(value.to_dict() if isinstance(value, ConfigDict) else value)
    except ValueError:  # an integer of thousands of digits
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:100]}..."


def floats(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values, integers as floats: a large integer does not fit into JAX's int32."""
    return {name: float(x) if type(x) is int else x for name, x in values.items()}


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of flattening: `{"loss.labels": x}` -> `{"loss": {"labels": x}}`.

    Raises:
      ValueError: a name is also a prefix of another.
    """
    nested: dict[str, Any] = {}
    for field, value in flat.items():
        *outer, last = field.split(".")
        inner = nested
        for name in outer:
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                raise ValueError(f"{field} is inside a field that is not a group")
        inner[last] = value
    return nested


def check(config: Mapping[str, Any] | ConfigDict, rules: Rules) -> None:
    """Checks fields of a config.

    Args:
      config: nested fields.
      rules: dotted name -> rule.

    Raises:
      UserError: a field is missing or has an invalid value; names it and the valid values.
    """
    for field, rule in rules.items():
        value = get(config, field)
        if not rule.allows(value):
            raise UserError(f"{field} is {shown(value)}; set it to {rule.allowed}.")


def names(config: Mapping[str, Any] | ConfigDict, prefix: str = "") -> list[str]:
    """The dotted names of all fields; an empty group is a field too."""
    found: list[str] = []
    for name, value in config.items():
        if isinstance(value, Mapping | ConfigDict) and len(value):
            found += names(value, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}")
    return found


def unknown(config: Mapping[str, Any] | ConfigDict, known: Collection[str]) -> None:
    """Refuses fields that nothing reads, such as misspelt ones.

    Args:
      config: nested fields.
      known: dotted names of fields that are read, and of groups whose fields may have any name.

    Raises:
      UserError: a field is not among them; names the most similar one that is.
    """
    for field in names(config):
        parts = field.split(".")
        if not any(".".join(parts[: end + 1]) in known for end in range(len(parts))):
            raise misspelt(field, known)


def misspelt(field: str, known: Collection[str]) -> UserError:
    """The error for a field that is not known; names the most similar one that is."""
    similar = _similar(field, known)
    fix = f"write {similar}, or remove it." if similar else "remove it."
    return UserError(f"{shown(field)[1:-1]} is not a field of this config; {fix}")


def did_you_mean(field: str, known: Collection[str]) -> str:
    """The end of a sentence about a field that is not known."""
    # A far-fetched guess is better than none: it shows what a name looks like.
    similar = _similar(field, known) or _similar(field, known, least=0.3)
    meant = f"did you mean {similar}? " if similar else ""
    return f"{meant}configs/default.py describes the fields."


def _similar(field: str, known: Collection[str], least: float = 0.6) -> str:
    """The most similar of the known fields, or one whose last name is similar; else empty."""
    names = sorted(known)
    last = {name.rpartition(".")[2]: name for name in reversed(names)}
    for asked, among in ((field, names), (field.rpartition(".")[2], list(last))):
        if found := difflib.get_close_matches(asked, among, n=1, cutoff=least):
            return last.get(found[0], found[0]) if among is not names else found[0]
    return ""
