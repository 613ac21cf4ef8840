"""Documents in the rows of CSV and Parquet files."""

from __future__ import annotations

import codecs
import contextlib
import csv
import difflib
import io
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dsh_jax.data.documents.own import COLUMNS, Reading, Row
from dsh_jax.data.images.label_files import guess_delimiter
from dsh_jax.data.lines import Mistakes
from dsh_jax.data.vectors import parquet
from dsh_jax.errors import UserError

_MARKS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
_MOST_CHARACTERS = 2**31 - 1  # of a cell; documents have a limit of their own
_LIMIT = threading.Lock()


def csv_rows(
    path: Path, content: bytes, reading: Reading, mistakes: Mistakes
) -> Iterator[Row]:
    """The rows of a CSV file whose columns are divided by commas, semicolons or tabs.

    Raises:
      UserError: it is empty or not in UTF-8, or a column is missing.
    """
    text = _decoded(path, content)
    if not text.strip():
        return
    lines = io.StringIO(text, newline="")
    delimiter = guess_delimiter(text.lstrip().partition("\n")[0])
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    places: Mapping[str, int] | None = None
    width = 0
    while True:
        number = reader.line_num + 1
        try:
            with _long_cells():
                cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = "a quote has no end" if "unexpected end" in str(error) else str(error)
            mistakes.add(number, f"cannot be read ({problem})")
            continue
        if not any(map(str.strip, cells)):
            continue
        if places is None:
            header = [cell.strip() for cell in cells]
            places, width = columns_of(path, header, reading), len(cells)
            continue
        if len(cells) != width:
            mistakes.add(number, f"has {len(cells)} columns, not {width}")
            continue
        found = {column: cells[place] for column, place in places.items()}
        mark = found.get("test", "").strip().casefold()
        if mark not in _MARKS:
            mistakes.add(number, f"has {reading.named('test')} {mark[:60]!r}, not true or false")
            continue
        name = found["id"].strip() if "id" in found else str(number)
        if not name:
            mistakes.add(number, f"has no {reading.named('id')}")
            continue
        yield Row(number, name, found["text"], reading.tags(found.get("tags", "")), _MARKS[mark])


def parquet_rows(
    path: Path, content: bytes, reading: Reading, mistakes: Mistakes
) -> Iterable[Row]:
    """The rows of a Parquet file, counted from 0.

    Raises:
      UserError: the file is damaged, or a column is missing.
    """
    del content  # it is read by column
    places = columns_of(path, parquet.names(path), reading)
    values = {c: _listed(parquet.values(path, reading.named(c))) for c in places}
    for number, text in enumerate(values["text"]):
        found = {column: of_rows[number] for column, of_rows in values.items()}
        name, tags = found.get("id", number), found.get("tags")
        tags = reading.tags(tags) if isinstance(tags, str) else tags or []
        mark = found.get("test") or False
        problem = ""
        if not isinstance(text, str):
            problem = f"has {reading.named('text')} {_shown(text)}, not a string"
        elif type(name) not in (str, int) or name == "":
            problem = f"has {reading.named('id')} {_shown(name)}, not a string or an integer"
        elif not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            problem = (
                f"has {reading.named('tags')} {_shown(found['tags'])}, not a list of strings or a "
                "string"
            )
        elif mark not in (0, 1):
            problem = f"has {reading.named('test')} {_shown(mark)}, not true or false"
        if problem:
            mistakes.add(number, problem)
            continue
        yield Row(number, str(name), text, tags, bool(mark))


def columns_of(path: Path, header: Sequence[str], reading: Reading) -> dict[str, int]:
    """The place of each column of `COLUMNS` that the file has.

    "text" must be there, and so must every column that the config names.

    Raises:
      UserError: one is not there, or there twice; or one that is not there may be misspelt.
    """
    places: dict[str, int] = {}
    for column in COLUMNS:
        name = reading.named(column)
        others = {other.casefold(): other for other in header}
        if header.count(name) > 1:
            raise UserError(f"{path} has two columns {name!r}: rename one of them.")
        if name in header:
            places[column] = header.index(name)
            continue
        similar = difflib.get_close_matches(name.casefold(), others, n=1, cutoff=0.8)
        if column == "text" or reading.columns.get(column) or similar:
            known = ", ".join(repr(other[:40]) for other in header[:10])
            meant = f", as it may be {others[similar[0]]!r}" if similar else ""
            raise UserError(
                f"{path} has no column {name!r}: set data.{column}_column to one of its columns "
                f"({known}){meant}."
            )
    return places


@contextlib.contextmanager
def _long_cells() -> Iterator[None]:
    """Lets Python's csv module read cells of more than 131,072 characters."""
    with _LIMIT:  # it is a setting of the whole process
        before = csv.field_size_limit(_MOST_CHARACTERS)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _decoded(path: Path, content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{path} is in UTF-16: save it as UTF-8.")
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"Line {line} of {path} is not in UTF-8 (byte 0x{content[error.start]:02X}): save the "
            "file as UTF-8."
        ) from error


def _listed(values: np.ndarray | list[Any]) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else values


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
