"""The runs of a sweep or a search: a config over code lengths, draws and settings.

A *setting* is a value for each field of `--set`; a *draw* is the seed of training and of the split.
"""

import argparse
import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax.cli import read_config
from dsh_jax.errors import UserError
from dsh_jax.training.experiment import check_data_fields, find_recipe
from dsh_jax.training.workdir import check_same_config

Setting = tuple[tuple[str, str], ...]
"""Fields and their values, as on a command line."""

# Fields that options of their own set.
_OPTIONS = {"num_bits": "--bits", "seed": "--draws", "data.split_seed": "--draws"}
_LONGEST = 120  # characters of a run's name


class Parser(argparse.ArgumentParser):
    """Arguments of a sweep or a search; a mistake raises `UserError`.

    Args:
      doc: of the tool; its first line describes it.
      draws: how many, if the user does not say.
      out: the default folder, to be followed by the config's name.
    """

    def __init__(self, doc: str, *, draws: int, out: str) -> None:
        super().__init__(
            description=doc.split("\n")[0], allow_abbrev=False,
            epilog="Further --config.field=value are the same in all runs.",
        )  # fmt: skip
        self._out = out
        self.add_argument("--config", required=True, help="as train.py takes it")
        self.add_argument("--draws", default=str(draws), help=f"how many, from 0 on ({draws})")
        self.add_argument(
            "--set", action="append", default=[], metavar="FIELD=V1,V2", help="values to combine"
        )
        self.add_argument("--out", help=f"folder of all runs ({out}NAME_OF_CONFIG)")

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists the options.")

    def parse(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """The options, with numbers as such and the fixed `overrides` of all runs.

        Raises:
          UserError: an unknown or invalid argument.
        """
        options, overrides = self.parse_known_args(arguments)
        for override in overrides:
            if not re.match(r"--config\.[^=]+=", override):
                raise UserError(
                    f"unexpected argument {override!r}; overrides are --config.field=value."
                )
        options.overrides = overrides
        (options.draws,) = integers(options.draws, "--draws", most=1)
        options.out = Path(options.out or self._out + config_name(options.config))
        return options


def config_name(path: str) -> str:
    """The name of a config file, with its argument unless that is a number of bits."""
    file, _, argument = path.partition(":")
    return Path(file).stem + (f"_{argument}" if argument and not argument.isdecimal() else "")


def values_of(text: str, name: str) -> list[str]:
    """The values of a list that is separated by commas.

    Raises:
      UserError: it is empty, or has a value twice; `name` is the option's.
    """
    values = [value.strip() for value in text.split(",")]
    if values == [""]:
        raise UserError(f"{name} is an empty list; give values separated by commas.")
    for value in values:
        if values.count(value) > 1:
            raise UserError(f"{name} has {value!r} twice; leave one out.")
    return values


def integers(text: str, name: str, most: int | None = None) -> list[int]:
    """The same, of integers of 1 or more, and no more than `most` of them."""
    values = values_of(text, name)
    for value in values:
        if not re.fullmatch("0*[1-9][0-9]{0,5}", value):
            raise UserError(f"{name} has {value!r}; give integers of 1 or more.")
    if most is not None and len(values) > most:
        raise UserError(f"{name} is {text!r}; give one integer.")
    return [int(value) for value in values]


def settings(texts: Sequence[str]) -> list[Setting]:
    """All combinations of the values of `--set FIELD=V1,V2`; the last field changes fastest.

    Raises:
      UserError: one is not in this form, is empty, or names a field twice or one that another
        option sets.
    """
    grid: dict[str, list[str]] = {}
    for text in texts:
        field, equals, values = text.partition("=")
        if not field or not equals:
            raise UserError(f"--set is {text!r}; write --set field=value1,value2.")
        if field in _OPTIONS:
            raise UserError(f"--set names {field}, which {_OPTIONS[field]} sets; use that.")
        if field in grid:
            raise UserError(f"--set names {field} twice; put all values into one list.")
        grid[field] = values_of(values, f"--set {field}")
    return [tuple(zip(grid, chosen, strict=True)) for chosen in itertools.product(*grid.values())]


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
      name: of its workdir and its other files; no other run of any sweep has it, except with other
        fixed overrides.
      setting: the values of the fields that differ between runs.
      num_bits: code length.
      draw: seed of training and of the split.
      arguments: for train.py, without the workdir.
      config: what it trains.
    """

    name: str
    setting: Setting
    num_bits: int
    draw: int
    arguments: tuple[str, ...]
    config: ConfigDict

    @property
    def values(self) -> dict[str, Any]:
        """The values of the setting's fields, of the config's types."""
        return {field: fields.get(self.config, field) for field, _ in self.setting}


def runs_of(
    options: argparse.Namespace, bits: Sequence[int], chosen: Sequence[Setting] | None = None
) -> list[Run]:
    """All runs, by setting, code length and draw, each with its config checked.

    Args:
      options: of `Parser.parse`.
      bits: code lengths; empty for the config's own.
      chosen: settings in place of those of `--set`.

    Raises:
      UserError: a file, a field or a value that is not valid.
    """
    for override in options.overrides:
        field = override.removeprefix("--config.").partition("=")[0]
        if field in _OPTIONS:
            raise UserError(f"{override} is set by {_OPTIONS[field]}; use that.")
    chosen = settings(options.set) if chosen is None else chosen
    bits = bits or [fields.get(read_config(options.config, options.overrides), "num_bits")]
    return [
        _run(options, setting, num_bits, draw)
        for setting in chosen
        for num_bits in bits
        for draw in range(options.draws)
    ]


def _run(options: argparse.Namespace, setting: Setting, num_bits: int, draw: int) -> Run:
    own = {"seed": draw, "data.split_seed": draw, "num_bits": num_bits, **dict(setting)}
    overrides = [*options.overrides, *(f"--config.{field}={x}" for field, x in own.items())]
    config = read_config(options.config, overrides)
    find_recipe(config)
    check_data_fields(config)
    changes = [f"{field}={value}" for field, value in setting]
    parts = [config_name(options.config), f"{num_bits}bit", *changes, f"draw{draw}"]
    arguments = (f"--config={options.config}", *overrides)
    return Run(_name(parts), setting, num_bits, draw, arguments, config)


def _name(parts: Sequence[str]) -> str:
    """A file's name that says what a run is, with a checksum where it cannot say all."""
    whole = "_".join(parts)
    name = re.sub(r"[^\w.=+-]", "-", whole, flags=re.ASCII)
    if name == whole and len(name) <= _LONGEST:
        return name
    return f"{name[:_LONGEST]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def check_done(run: Run, workdir: Path, done: Path) -> bool:
    """Whether a run is finished, which a file says.

    Args:
      run: of a sweep.
      workdir: of its training.
      done: written when it was finished.

    Raises:
      UserError: the workdir holds another config, or the file is of another one.
    """
    try:
        same = check_same_config(workdir, run.config)
    except UserError as error:
        raise UserError(str(error).replace("--workdir", "--out")) from error
    if done.exists() and not same:
        raise UserError(
            f"{done} is not of this config, or its workdir {workdir} is gone; choose another "
            "--out, or move the file away."
        )
    return done.exists()
