"""Ctrl-C ends a command with one line, even while it still imports its modules."""

import contextlib
import os
import signal
import sys
from typing import Any, NoReturn, TextIO

STOPPED = "stopped; run the same command again to resume."


def stop_at_once() -> None:
    """From now on Ctrl-C ends the process: for as long as there is nothing to close."""
    signal.signal(signal.SIGINT, _stop)


def stop_in_order() -> None:
    """From now on Ctrl-C raises `KeyboardInterrupt`, as usual."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def end(code: int, line: str = "", file: TextIO | None = None) -> NoReturn:
    """Ends the process after a line, without waiting for threads or closing modules.

    Args:
      code: the exit code.
      line: to write; empty for none.
      file: where to; None for stderr.

    Not `sys.exit`: after a failed read, Orbax's threads print tracebacks at the interpreter's exit.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, ValueError):  # nobody reads it
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):
        file = file or sys.stderr
        if line:
            file.write(f"{line}\n")
        file.flush()
    os._exit(code)


def _stop(*_: Any) -> NoReturn:
    os.write(2, f"{STOPPED}\n".encode())
    os._exit(130)
