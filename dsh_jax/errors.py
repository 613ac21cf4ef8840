"""The one exception that a user's mistake raises."""


class UserError(Exception):
    """A mistake of the user's, told in one sentence that names the thing and the mend.

    The command-line tools print it without a traceback and exit with code 2.
    """
