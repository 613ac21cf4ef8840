"""Ctrl-C ends a command with one line, even while it still imports its modules.

While training takes steps, Ctrl-C and SIGTERM are requests: it saves a checkpoint, and then ends.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TextIO

RESUME = "run the same command again to resume."
STOPPED = f"stopped; {RESUME}"
STOPPED_AT = "stopped at step"


class Stopped(Exception):
    """Training ended before its last step, with all that it had done saved."""


def stop_at_once() -> None:
    """From now on Ctrl-C ends the process: for as long as there is nothing to close."""
    signal.signal(signal.SIGINT, _stop)


def stop_in_order() -> None:
    """From now on Ctrl-C raises `KeyboardInterrupt`, as usual."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def requests(*numbers: signal.Signals) -> Iterator[Callable[[], bool]]:
    """Within the block the first of some signals is a request; the next Ctrl-C ends the process.

    Args:
      numbers: the signals.

    Yields:
      A function that says whether there was one. Outside of the main thread, where Python takes no
      signals, there is none.
    """
    asked: list[int] = []

    def ask(number: int, _: Any) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, _stop)

    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, ask) for number in numbers} if is_main else {}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
