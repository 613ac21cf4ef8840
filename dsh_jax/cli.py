"""Shared by the command-line tools: a user's mistake gives one sentence and exit code 2."""

import os
import sys
from collections.abc import Callable, Sequence
from itertools import dropwhile

from absl import app, flags, logging

from dsh_jax.errors import UserError


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
