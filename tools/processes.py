"""Runs `train.py` and `eval.py` one after another, as a user would, with a line about each."""

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dsh_jax import interrupt
from dsh_jax.errors import UserError, brief


class Died(Exception):
    """A command that failed: its exit code, last words and log, in a sentence."""


def call(command: Sequence[str], log: Path) -> None:
    """Runs a script of the checkout.

    Args:
      command: the script and its arguments.
      log: gets the command and its output, after what it holds already.

    Raises:
      Died: the exit code is not 0, or it is a training that stopped before its last step.
      KeyboardInterrupt: Ctrl-C stopped the script.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        file.write(f"$ python {shlex.join(command)}\n")
        file.flush()
        code = subprocess.run(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
        ).returncode  # fmt: skip
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise Died(f"exit code {code}: {_last_words(log)}; log: {log}")
    words = _last_words(log)
    if words.startswith(interrupt.STOPPED_AT):  # by SIGTERM or its time limit
        raise Died(f"{words}; log: {log}")


def _last_words(log: Path) -> str:
    """The error that a script ended with, or else the last line of its log."""
    _, _, own = f"\n{log.read_text(errors='replace')}".rpartition("\n$ python ")
    lines = [line for line in own.splitlines()[1:] if line.strip()] or ["no output"]
    errors = [line for line in lines if line.startswith("error: ")]
    return brief((errors or lines)[-1].removeprefix("error: "))


def one_by_one(jobs: Sequence[tuple[str, Callable[[], str]]]) -> bool:
    """Does jobs in order, with a line about each; one that dies does not stop the others.

    Args:
      jobs: a name, and what is to be done: returns words for the line, and may raise `Died`.

    Returns:
      Whether all were done.
    """
    died = False
    for number, (name, job) in enumerate(jobs, start=1):
        print(f"[{number}/{len(jobs)}] {name}: ", end="", flush=True)
        began = time.monotonic()
        try:
            words = job()
            print(f"{words} ({time.monotonic() - began:.0f} s)", flush=True)
        except Died as error:
            died = True
            print(f"died, {error}", flush=True)
    return not died


def guarded(main: Callable[[], int]) -> int:
    """The exit code of a tool: 2 and a sentence for a user's mistake, 130 for Ctrl-C."""
    try:
        if not Path("train.py").is_file():
            raise UserError("there is no train.py here; run this in the folder of the checkout.")
        return main()
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{interrupt.STOPPED}", file=sys.stderr)
        return 130
