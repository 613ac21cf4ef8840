"""The exception for users' mistakes."""

import contextlib
import os
import re
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

_LIBRARIES = tuple(
    f"{Path(folder).resolve()}{os.sep}"
    for folder in (
        str(Path(__file__).parent),
        *(sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")),
    )
)
_MOST_SHOWN = 10


class UserError(Exception):
    """A user's mistake, explained in one sentence that names the cause and the fix.

    The command-line tools print it without a traceback and exit with code 2. The library raises it
    if the cause is in a file, a workdir or a config, and `ValueError` if it is in a function's
    arguments.
    """


class UserErrors(UserError):
    """Several mistakes: a sentence about all of them, and below it a line about each.

    Args:
      sentence: about all.
      mistakes: about each; the first ten are shown, and how many more there are.
    """

    def __init__(self, sentence: str, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(" ".join(mistake.split()) for mistake in mistakes)
        lines = [sentence, *self.mistakes[:_MOST_SHOWN]]
        if len(self.mistakes) > _MOST_SHOWN:
            lines.append(f"and {len(self.mistakes) - _MOST_SHOWN:,} more")
        super().__init__("\n  ".join(lines))


@contextlib.contextmanager
def as_user_error() -> Iterator[None]:
    """Turns a `ValueError` of numerical code into a `UserError` with the same message.

    For calls whose arguments come directly from a user's config or data.
    """
    try:
        yield
    except ValueError as error:
        raise UserError(" ".join(str(error).split())) from error


def brief(reason: BaseException | str) -> str:
    """The first line of an error, cut to a length that fits into a sentence."""
    lines = str(reason).strip().splitlines() or [type(reason).__name__]
    return lines[0][:200].rstrip(" .")


def reason(error: BaseException) -> str:
    """Why a user's own code failed, as a phrase: the message in plain words, and its line.

    The names of Python's and of libraries' exceptions are left out: the user never wrote them.
    """
    place = _place(error)
    return f"{_said(error)}, in {place}" if place else _said(error)


def _said(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return error.msg
    if isinstance(error, KeyError) and error.args:
        return f"there is no key {error.args[0]!r}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if "Tracer" in type(error).__name__ or type(error).__name__ == "ConcretizationTypeError":
        return (
            "it needs the value of an array that is not computed yet, as Python's if, float() and "
            "NumPy do; use jnp.where and jax.numpy"
        )
    if not str(error).strip():
        return "an assertion failed" if isinstance(error, AssertionError) else "it gave no message"
    # Some libraries quote others' exceptions.
    return re.sub(r"\b[\w.]*(Error|Exception|Warning): ", "", brief(error))


def _place(error: BaseException) -> str:
    """The last line of a user's own file that an error went through; empty if there is none."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"line {error.lineno} of {Path(error.filename).name}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<")
        and not str(Path(frame.filename).resolve()).startswith(_LIBRARIES)
    ]
    return f"line {frames[-1].lineno} of {Path(frames[-1].filename).name}" if frames else ""
