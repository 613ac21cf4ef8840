"""Shared by the command-line tools: a user's mistake gives one sentence and exit code 2."""

import difflib
import errno
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags
from ml_collections.config_flags.config_flags import ConfigFileFlagParser

from dsh_jax import flag_messages, interrupt
from dsh_jax.errors import UserError, UserErrors, reason
from dsh_jax.overrides import check as check_overrides

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _ConfigParser(ConfigFileFlagParser):
    """Reads a config file; says what is wrong with it and with its overrides.

    Args:
      name: of the flag.
      arguments: with the overrides; None for those of this process.
    """

    def __init__(self, name: str, arguments: Sequence[str] | None = None) -> None:
        super().__init__(name)
        self._arguments = arguments

    def parse(self, path: str) -> Any:
        file = Path(path.partition(":")[0])
        if path.startswith("--"):
            raise UserError(f"--{self.name} has no value; write --{self.name}=FILE.")
        if not file.is_file():
            beside = sorted(map(str, file.parent.glob("*.py")))
            similar = difflib.get_close_matches(str(file), beside, n=1)
            meant = f"did you mean {similar[0]}?" if similar else "name one of configs/."
            raise UserError(f"there is no config file {path!r}; {meant}")
        try:
            config = super().parse(path)
        except UserError:
            raise
        except Exception as error:  # a config file is user code: it may raise anything
            # ml_collections raises some errors anew, with a traceback as their message.
            again = str(error).startswith("Error whilst parsing config file")
            raise UserError(_about_config(path, error.__context__ if again else error)) from error
        if config is None or isinstance(config, dict | list | str | int):
            raise UserError(
                f"get_config() in {path} returns {type(config).__name__}; let it return a "
                "ConfigDict, as in configs/default.py."
            )
        if isinstance(config, ConfigDict):
            check_overrides(config, sys.argv[1:] if self._arguments is None else self._arguments)
        return config


def _about_config(path: str, error: BaseException | None) -> str:
    """What went wrong in a config file."""
    file, colon, argument = path.partition(":")
    assert error is not None
    if isinstance(error, AttributeError) and error.name == "get_config":
        return f"{file} has no get_config(); write one that returns a ConfigDict."
    if str(error).startswith("get_config() ") and "positional argument" in str(error):
        if colon:
            return f"get_config() in {file} takes no argument; leave out the :{argument}."
        return f"get_config() in {file} takes an argument; write it after a colon, as in {file}:48."
    return f"the config {path} fails: {reason(error)}."


def config_file_flag(name: str, text: str) -> flags.FlagHolder:
    """Defines a flag that names a config file, whose fields `--NAME.field=value` overrides."""
    holder = config_flags.DEFINE_config_file(name, None, text)
    flags.FLAGS[name].parser = _ConfigParser(name)
    return holder


def read_config(path: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """The config that `train.py --config PATH` trains with these overrides.

    Args:
      path: of the config file, with its argument after a colon if it takes one.
      overrides: as on a command line, `--config.field=value`.

    Raises:
      UserError: there is no such file, it cannot be run, or an override does not fit.
    """
    arguments = [f"--config={path}", *overrides]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=["", *arguments])
    values["config"].parser = _ConfigParser("config", arguments)
    try:
        values(["", *arguments])
    except (flags.Error, AttributeError, TypeError, ValueError) as error:
        raise UserError(flag_messages.explain(error, values)) from error
    return values["config"].value


def run(
    main: Callable[[Sequence[str]], None], *, positional: bool = False, about: str = ""
) -> None:
    """Parses the flags and calls `main`; reports a user's mistake in one sentence, exit code 2.

    Args:
      main: takes the script's name and the arguments that are not flags. What is slow to import is
        imported in it, after the flags are read.
      positional: whether arguments other than flags are allowed.
      about: the program, for `--help`.
    """

    def parse(argv: Sequence[str]) -> list[str]:
        if flag_messages.asks_for_help(argv[1:]):
            interrupt.end(0, flag_messages.help_page(argv[0], about), file=sys.stdout)
        try:
            rest = flags.FLAGS(list(argv))
        except UserError as error:
            _fail(_on_lines(error))
        except Exception as error:
            _fail(flag_messages.explain(error))
        if len(rest) > 1 and not positional:
            _fail(f"unexpected argument {rest[1]!r}; flags begin with --.")
        return rest

    def guarded(argv: Sequence[str]) -> None:
        # Orbax logs every detail of every checkpoint, and tracebacks of what it raises anyway.
        logging.set_verbosity(logging.FATAL)
        try:
            from dsh_jax import compilation_cache  # imports JAX, which --help does without

            compilation_cache.enable()
            interrupt.stop_in_order()
            main(argv)
            sys.stdout.flush()
            interrupt.stop_at_once()
        except UserError as error:
            _fail(_on_lines(error))
        except OSError as error:
            _fail(_about_files(error))
        except interrupt.Stopped as stopped:
            interrupt.end(0, str(stopped))
        except KeyboardInterrupt:
            interrupt.end(130, interrupt.STOPPED)

    interrupt.stop_at_once()
    sys.stdout = sys.stdout or open(os.devnull, "w")  # None where the shell closed it
    sys.stderr = sys.stderr or open(os.devnull, "w")
    sys.unraisablehook = _unraisable
    threading.excepthook = _thread_failed
    app.run(guarded, flags_parser=parse)


def _on_lines(error: UserError) -> str:
    """One line, or one for each of several mistakes."""
    return str(error) if isinstance(error, UserErrors) else " ".join(str(error).split())


def _unraisable(caught: "sys.UnraisableHookArgs") -> None:
    # After a failed read, Orbax's threads use a closed event loop; the failure itself was raised.
    if str(caught.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(caught)


def _thread_failed(caught: threading.ExceptHookArgs) -> None:
    # What fails in Orbax's threads is raised again where the main thread waits for them.
    frames = traceback.walk_tb(caught.exc_traceback)
    if not any(frame.f_globals.get("__name__", "").startswith("orbax.") for frame, _ in frames):
        threading.__excepthook__(caught)


def _about_files(error: OSError) -> str:
    """A sentence about a file that cannot be read or written; most errors name it."""
    sentence = " ".join(str(error).split())
    if isinstance(error, BrokenPipeError):
        return "the output was closed before the end; write it to a file to keep all of it."
    if error.errno in _NO_SPACE:
        return f"{sentence}: there is no space left to write; free some and run it again."
    return sentence


def _fail(sentence: str) -> NoReturn:
    interrupt.end(2, f"error: {sentence}")
