"""Names and texts of users, as reports can draw and store them."""

FORMATS = ("png", "pdf", "svg")
"""Of the pictures of reports; here, where importing them takes no time."""


def printable(text: str) -> str:
    """A text that any encoding of Unicode can hold: lone surrogates are written as "\\udcff"."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def short(text: str, length: int) -> str:
    """A text on one line, printable, of at most `length` characters."""
    line = "".join(c if c.isprintable() else " " for c in printable(text[: 4 * length]))
    line = " ".join(line.split())
    cut = len(line) > length or len(text) > 4 * length
    return f"{line[: length - 2].rstrip()} …" if cut else line


def for_matplotlib(text: str, length: int) -> str:
    """As `short`, for a figure, where "$" would begin a formula and "_" hide it from a legend."""
    line = short(text, length).replace("$", r"\$")
    return f" {line}" if line.startswith("_") else line
