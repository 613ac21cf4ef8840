"""Shared by the command-line tools: a user's mistake gives one sentence and exit code 2."""

import os
import sys
from collections.abc import Callable, Sequence
from itertools import dropwhile
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags
from ml_collections.config_flags.config_flags import ConfigFileFlagParser

from dsh_jax import fields
from dsh_jax.errors import UserError
from dsh_jax.training.workdir import config_overrides


class _ConfigParser(ConfigFileFlagParser):
    """Reads a config file; says what is wrong with what it returns and with its overrides."""

    def parse(self, path: str) -> Any:
        config = super().parse(path)
        if config is None or isinstance(config, dict | list | str | int):
            raise UserError(
                f"get_config() in {path} returns {type(config).__name__}; let it return a "
                "ConfigDict, as in configs/default.py."
            )
        if isinstance(config, ConfigDict):
            _check_overrides(config)
        return config


def config_file_flag(name: str, text: str) -> flags.FlagHolder:
    """Defines a flag that names a config file, whose fields `--NAME.field=value` overrides."""
    holder = config_flags.DEFINE_config_file(name, None, text)
    flags.FLAGS[name].parser = _ConfigParser(name)
    return holder


def _check_overrides(config: ConfigDict) -> None:
    known = fields.names(config)
    groups = {name[:end] for name in known for end, letter in enumerate(name) if letter == "."}
    for override in config_overrides(sys.argv[1:]):
        field = override.removeprefix("--config.").split("=", 1)[0]
        if field not in groups.union(known):
            raise fields.misspelt(field, known)


def run(main: Callable[[Sequence[str]], None], *, positional: bool = False) -> None:
    """Parses the flags and calls `main`; reports a user's mistake in one sentence, exit code 2.

    Args:
      main: takes the script's name and the arguments that are not flags.
      positional: whether arguments other than flags are allowed.
    """

    def parse(argv: Sequence[str]) -> list[str]:
        try:
            rest = flags.FLAGS(list(argv))
        except Exception as error:  # a config file is user code: it may raise anything
            known = isinstance(error, flags.Error | UserError)
            _fail(("" if known else f"{type(error).__name__}: ") + _without_traceback(str(error)))
        if len(rest) > 1 and not positional:
            _fail(f"unexpected argument {rest[1]!r}; flags begin with --.")
        return rest

    def guarded(argv: Sequence[str]) -> None:
        logging.set_verbosity(logging.ERROR)  # Orbax logs every detail of every checkpoint
        try:
            main(argv)
        except (UserError, OSError) as error:  # an OSError names its file: full disk, no permission
            _fail(" ".join(str(error).split()))
        except KeyboardInterrupt:
            print("stopped; run the same command again to resume.", file=sys.stderr)
            sys.exit(130)

    sys.unraisablehook = _unraisable
    app.run(guarded, flags_parser=parse)


def _without_traceback(message: str) -> str:
    # ml_collections puts the traceback of a config file's TypeError or ValueError into its message.
    before, *tracebacks = message.split("Traceback (most recent call last):\n")
    if tracebacks:
        lines = tracebacks[-1].splitlines()
        before += " ".join(dropwhile(lambda line: line[:1] in ("", " "), lines))
    return " ".join(before.split())


def _unraisable(caught: "sys.UnraisableHookArgs") -> None:
    # After a failed read, Orbax's threads use a closed event loop; the failure itself was raised.
    if str(caught.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(caught)


def _fail(sentence: str) -> None:
    sys.stderr.write(f"error: {sentence}\n")
    sys.stdout.flush()
    # Not sys.exit: after a failed read, Orbax's threads print tracebacks at interpreter exit.
    os._exit(2)
