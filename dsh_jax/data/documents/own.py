"""A user's own documents: JSONL, CSV and Parquet files, and folders of text files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsh_jax.data.documents.tagged import Documents
from dsh_jax.data.labels import as_labels, multi_hot
from dsh_jax.data.lines import Key, Mistakes, is_list_of_strings, json_lines
from dsh_jax.data.reading import read_bytes
from dsh_jax.errors import UserError

LINE = '{"id": "a1", "text": "some words", "tags": ["x", "y"], "test": false}'
COLUMNS = ("id", "text", "tags", "test")


class Row(NamedTuple):
    """A document: its line or row in its file, and what it says."""

    place: int
    name: str
    text: str
    tags: list[str]
    is_test: bool


@dataclass(frozen=True)
class Reading:
    """How documents are read.

    Attributes:
      columns: a name of `COLUMNS` -> that of the file's own column or key; one that is missing or
        empty is the name itself.
      separator: between the tags of a string.
      max_characters: of a document; 0 is no limit.
      max_tags: different ones, of all documents together; 0 is no limit.
    """

    columns: Mapping[str, str]
    separator: str = ";"
    max_characters: int = 0
    max_tags: int = 0

    def named(self, column: str) -> str:
        """What the file calls a column."""
        return self.columns.get(column, "") or column

    def tags(self, value: str) -> list[str]:
        """The tags in a string."""
        parts = value.split(self.separator) if self.separator else [value]
        return [tag for tag in map(str.strip, parts) if tag]


Read = Callable[[Path, bytes, Reading, Mistakes], Iterable[Row]]
"""Path, content, how to read, and a place for what is wrong -> rows."""


def load_file(name: str, path: Path, read: Read, mistakes: Mistakes, reading: Reading) -> Documents:
    """Reads a file of documents.

    Args:
      name: of the source.
      path: of the file.
      read: what reads its rows.
      mistakes: takes what is wrong with them.
      reading: how.

    Raises:
      UserError: rows are wrong, ids are there twice, there are no documents, or a limit is passed.
      OSError: the file cannot be read.
    """
    content = read_bytes(path)
    rows: dict[str, Row] = {}
    places: dict[str, int] = {}  # id -> the row that has it
    for row in read(path, content, reading, mistakes):
        if places.setdefault(row.name, row.place) != row.place:
            mistakes.add(
                row.place, f"repeats the id {row.name!r} of {mistakes.unit} {places[row.name]}"
            )
        rows[row.name] = row
    mistakes.check()
    return as_documents(name, path, list(rows.values()), reading, _digest(content)[:12])


def as_documents(
    name: str, path: Path, rows: list[Row], reading: Reading, version: str
) -> Documents:
    """Rows as documents: multi-hot tags, or class ids where no document has two tags.

    Tags of JSONL are always multi-hot.

    Raises:
      UserError: there are no rows, or a limit is passed.
    """
    if not rows:
        raise UserError(f"{path} holds no documents: {FIXES[name]}.")
    longest = max(rows, key=lambda row: len(row.text))
    if 0 < reading.max_characters < len(longest.text):
        raise UserError(
            f"document {longest.name[:60]!r} of {path} has {len(longest.text):,} characters, and "
            f"data.max_characters is {reading.max_characters:,}: cut it into parts, or raise "
            "data.max_characters."
        )
    class_names = sorted({tag for row in rows for tag in row.tags})
    if 0 < reading.max_tags < len(class_names):
        raise UserError(
            f"{path} has {len(class_names):,} different tags, and data.max_tags is "
            f"{reading.max_tags:,}: set data.tags_column to the column of the tags, keep the most "
            "frequent ones, or raise data.max_tags."
        )
    of_rows = multi_hot if name == "jsonl" else as_labels
    return Documents(
        name=name, version=version, names=tuple(row.name for row in rows),
        texts=tuple(row.text for row in rows),
        labels=of_rows([row.tags for row in rows], class_names),
        is_test=np.array([row.is_test for row in rows]), class_names=tuple(class_names),
        contents=tuple(_digest(row.text.encode("utf-8", "surrogatepass")) for row in rows),
    )  # fmt: skip


def load_jsonl(path: Path, reading: Reading) -> Documents:
    """A file with one JSON object a line.

    Raises:
      UserError, OSError: as `load_file`; or a key that the config names is in no line.
    """
    fix = f"write lines like {LINE}, each with an id of its own, in UTF-8"
    if any(reading.columns.values()):
        names = ", ".join(json.dumps(reading.named(column)) for column in COLUMNS)
        fix = f"write one JSON object a line with the keys {names}, each with an id of its own"
    return load_file("jsonl", path, _json_rows, Mistakes(path, fix), reading)


def _json_rows(
    path: Path, content: bytes, reading: Reading, mistakes: Mistakes
) -> Iterable[Row]:
    for column, key in reading.columns.items():
        forms = (json.dumps(key, ensure_ascii=ascii).encode() for ascii in (True, False))
        if key and not any(form in content for form in forms):
            raise UserError(
                f"no line of {path} has the key {key!r}: set data.{column}_column to a key that "
                f"they have, or leave it empty for {column!r}."
            )
    named = {column: reading.named(column) for column in COLUMNS}
    keys = {
        named["id"]: Key("a string or an integer", lambda value: type(value) in (str, int)),
        named["text"]: Key("a string", lambda value: isinstance(value, str)),
        named["tags"]: Key('a list of strings, as in ["x", "y"]', is_list_of_strings, default=[]),
        named["test"]: Key("true or false", lambda value: isinstance(value, bool), default=False),
    }
    for number, record in json_lines(content, keys, mistakes):
        found = {column: record[key] for column, key in named.items()}
        yield Row(number, str(found["id"]), found["text"], found["tags"], found["test"])


def load_csv(path: Path, reading: Reading) -> Documents:
    """A CSV file with a header.

    Raises:
      UserError, OSError: as `load_file`; or a column is missing.
    """
    from dsh_jax.data.documents.tables import csv_rows

    fix = "write a header and one row a document in UTF-8, and quote cells that hold a delimiter"
    return load_file("csv", path, csv_rows, Mistakes(path, fix), reading)


def load_parquet(path: Path, reading: Reading) -> Documents:
    """A Parquet file.

    Raises:
      UserError, OSError: as `load_file`; or a column is missing, or of another type.
    """
    from dsh_jax.data.documents.tables import parquet_rows

    mistakes = Mistakes(path, "correct it and write the file again", unit="row")
    return load_file("parquet", path, parquet_rows, mistakes, reading)


def load_text_files(path: Path, reading: Reading) -> Documents:
    """A folder of text files.

    Raises:
      UserError, OSError: as `text_files.text_rows`; or there are none.
    """
    from dsh_jax.data.documents.text_files import text_rows

    rows = text_rows(path)
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{len(row.name)} {len(row.text)}\n{row.name}{row.text}".encode())
    return as_documents("text_files", path, rows, reading, digest.hexdigest()[:12])


LOADERS: Mapping[str, Callable[[Path, Reading], Documents]] = {
    "jsonl": load_jsonl,
    "csv": load_csv,
    "parquet": load_parquet,
    "text_files": load_text_files,
}
FIXES = {
    "jsonl": f"set data.data_dir to a file with one document per line, like {LINE}",
    "csv": "set data.data_dir to a CSV file with one document a row and the columns text and, if"
    " there are any, id, tags and test, or name its own columns by data.text_column and so on",
    "parquet": "set data.data_dir to a Parquet file with one document a row and the columns text"
    " and, if there are any, id, tags and test, or name its own columns by data.text_column and so"
    " on",
    "text_files": "set data.data_dir to a folder of .txt and .md files, whose sub-folders are the"
    " tags",
}
"""Source -> what to do where there is nothing to read."""


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
