"""The exception for users' mistakes."""

import contextlib
from collections.abc import Iterator


class UserError(Exception):
    """A user's mistake, explained in one sentence that names the cause and the fix.

    The command-line tools print it without a traceback and exit with code 2. The library raises it
    if the cause is in a file, a workdir or a config, and `ValueError` if it is in a function's
    arguments.
    """


@contextlib.contextmanager
def as_user_error() -> Iterator[None]:
    """Turns a `ValueError` of numerical code into a `UserError` with the same message.

    For calls whose arguments come directly from a user's config or data.
    """
    try:
        yield
    except ValueError as error:
        raise UserError(" ".join(str(error).split())) from error


def brief(reason: Exception | str) -> str:
    """The first line of an error, cut to a length that fits into a sentence."""
    lines = str(reason).strip().splitlines() or [type(reason).__name__]
    return lines[0][:200].rstrip(" .")
