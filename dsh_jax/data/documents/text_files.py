"""Folders of text files: each file is a document, and its folder is its tag."""

from __future__ import annotations

import codecs
import stat
from pathlib import Path

from dsh_jax.data.documents.own import Row
from dsh_jax.data.reading import read_bytes
from dsh_jax.errors import UserError, UserErrors

ENDINGS = (".txt", ".md")
MOST_FILES = 1_000_000
MOST_BYTES = 4 * 2**30


def text_rows(folder: Path) -> list[Row]:
    """The text files of a folder and its sub-folders, in order of their paths.

    A file's name is its path below the folder, and its tag the path of the folder that it is in; a
    file that is in `folder` itself has none. Hidden files and folders are left out. Where there are
    sub-folders `train` and `test`, tags begin below them, and files of `test` are test documents.

    Raises:
      UserError: it is no folder, has too many files, or files that are not in UTF-8.
      OSError: a file cannot be read.
    """
    if not stat.S_ISDIR(folder.stat().st_mode):
        raise UserError(
            f"{folder} is not a folder: set data.data_dir to a folder of .txt and .md files, or "
            "data.source to csv, jsonl or parquet."
        )
    divided = all((folder / part).is_dir() for part in ("train", "test"))
    places = [
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.suffix.lower() in ENDINGS and path.is_file()
    ]
    places = sorted(p for p in places if not any(part.startswith(".") for part in p.parts))
    if len(places) > MOST_FILES:
        raise UserError(
            f"{folder} has {len(places):,} files, and the limit is {MOST_FILES:,}: write them into "
            "one JSONL file."
        )
    rows, mistakes, left = [], [], MOST_BYTES
    for number, place in enumerate(places, start=1):
        content = read_bytes(folder / place, left)
        left -= len(content)
        try:
            text = content.removeprefix(codecs.BOM_UTF8).decode()
        except UnicodeDecodeError as error:
            mistakes.append(f"{place} has byte 0x{content[error.start]:02X} at {error.start:,}")
            continue
        parts = place.parts[1:-1] if divided else place.parts[:-1]
        tags = ["/".join(parts)] if parts else []
        is_test = divided and place.parts[0] == "test"
        rows.append(Row(number, place.as_posix(), text, tags, is_test))
    if len(mistakes) == 1:
        raise UserError(f"{mistakes[0]} of {folder}, which is not UTF-8: save it as UTF-8.")
    if mistakes:
        raise UserErrors(
            f"{len(mistakes):,} files of {folder} are not in UTF-8: save them as UTF-8.", mistakes
        )
    return rows
