"""The one exception that a user's mistake raises."""

import contextlib
from collections.abc import Iterator


class UserError(Exception):
    """A user's mistake, explained in one sentence that names the cause and the fix.

    The command-line tools print it without a traceback and exit with code 2. Functions of the
    library raise it where the cause lies in a file, a workdir or a config, and `ValueError` where
    it lies in their arguments.
    """


@contextlib.contextmanager
def as_user_error() -> Iterator[None]:
    """Turns a `ValueError` of the numerics into a `UserError` with the same sentence.

    For the few places where the arguments come straight from a user's config or data.
    """
    try:
        yield
    except ValueError as error:
        raise UserError(" ".join(str(error).split())) from error
