"""Files that list a user's images and their labels: CSV and JSONL."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dsh_jax.data.lines import Key, Mistakes, decoded, is_list_of_strings, json_lines
from dsh_jax.data.reading import read_bytes
from dsh_jax.errors import UserError

DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
COLUMNS = ("path", "labels", "test")  # the last one may be left out

_KEYS = {
    "path": Key("a path", lambda value: isinstance(value, str) and bool(value)),
    "labels": Key('a list of strings, as in ["x", "y"]', is_list_of_strings, default=[]),
    "test": Key("true or false", lambda value: isinstance(value, bool), default=False),
}
_LINE = '{"path": "a/1.jpg", "labels": ["x", "y"], "test": false}'


class Row(NamedTuple):
    """A line of a file: its number, an image's path and labels, and whether it is for testing."""

    line: int
    path: str
    labels: list[str]
    is_test: bool


def read_rows(source: Path) -> tuple[list[Row], Mistakes]:
    """The rows of a CSV or JSONL file, and what is wrong with the other lines.

    Raises:
      UserError: the file cannot be read, or its header is wrong.
    """
    try:
        content = read_bytes(source)
    except OSError as error:
        raise UserError(
            f"{source} cannot be read ({error.strerror or error}): set data.root to a file that"
            " can be."
        ) from error
    if source.suffix.lower() == ".jsonl":
        mistakes = Mistakes(source, f"write a JSON object like {_LINE}, in UTF-8")
        rows = [
            Row(number, record["path"], record["labels"], record["test"])
            for number, record in json_lines(content, _KEYS, mistakes)
        ]
        return rows, mistakes
    mistakes = Mistakes(
        source, "write lines like a/1.jpg,x;y in UTF-8, and quote cells that hold a delimiter"
    )
    lines = list(decoded(content, mistakes))
    return list(_csv_rows(source, lines, mistakes)), mistakes


def guess_delimiter(header: str) -> str:
    """The character between the columns: what stands most often in the header."""
    return max(DELIMITERS, key=header.count)


def _csv_rows(source: Path, lines: list[tuple[int, str]], mistakes: Mistakes) -> Iterator[Row]:
    lines = list(lines)
    while lines and not lines[0][1].strip():
        del lines[0]
    if not lines:
        mistakes.check()
        raise UserError(f"{source} is empty: write the header path,labels and a line per image.")
    delimiter = guess_delimiter(lines[0][1])
    reader = csv.reader((f"{line}\n" for _, line in lines), delimiter=delimiter, strict=True)
    place: dict[str, int] = {}
    while True:
        number = lines[min(reader.line_num, len(lines) - 1)][0]
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            problem = str(error)
            if "unexpected end" in problem or "newline" in problem:
                problem = "a quote has no end"
            mistakes.add(number, f"cannot be read ({problem})")
            continue
        if not place:
            if number > 1 and mistakes.of_lines:
                mistakes.check()  # the header is in another encoding
            place = _header(source, number, cells, delimiter)
        elif any(cells):
            problem = _problem(cells, place)
            if problem:
                mistakes.add(number, problem)
                continue
            test = cells[place["test"]] if "test" in place else ""
            yield Row(number, cells[place["path"]], cells[place["labels"]].split(";"), test == "1")


def _header(source: Path, number: int, cells: list[str], delimiter: str) -> dict[str, int]:
    """Column's name -> its place."""
    names = [cell.casefold() for cell in cells]
    if sorted(names) not in (sorted(COLUMNS[:2]), sorted(COLUMNS)):
        found = ", ".join(repr(cell) for cell in cells)
        raise UserError(
            f"Line {number} of {source} reads {found[:200]}, with {DELIMITERS[delimiter]} taken as "
            "the delimiter: write the header path,labels or path,labels,test, with commas, "
            "semicolons or tabs."
        )
    return {name: names.index(name) for name in names}


def _problem(cells: list[str], place: dict[str, int]) -> str:
    """What is wrong with a row, or nothing."""
    if len(cells) != len(place):
        return f"has {len(cells)} columns, not {len(place)}"
    if not cells[place["path"]]:
        return "has no path"
    if "test" in place and cells[place["test"]] not in ("", "0", "1"):
        return f"has test {cells[place['test']]!r}, not 0 or 1"
    return ""
