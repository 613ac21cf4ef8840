"""What an index is filled from: images or a JSONL file; vectors, codes and parts have own modules.

A source is a list of entries, known before anything is encoded.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dsh_jax.data.images.layout import UNLABELED, Layout, find_layout
from dsh_jax.data.images.listing import ENDINGS, list_images
from dsh_jax.data.reading import read_text
from dsh_jax.data.vectors.rows import Rows
from dsh_jax.errors import UserError, brief
from dsh_jax.search.items import SNIPPET, Item, check_id, check_labels

_LINE = '{"id": "a1", "text": "some words", "labels": ["x"]} or {"path": "a/1.jpg"}'


@dataclass(frozen=True, slots=True)
class Entry:
    """An item that is to be in an index.

    Attributes:
      id, path, labels, metadata, stamp: as an `Item`'s.
      text: the whole document; empty for an image.
      code: packed, if it has been encoded already; else empty.
      row: of its vector; -1 where it is none.
    """

    id: str
    path: str = ""
    text: str = ""
    labels: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    stamp: str = ""
    code: bytes = b""
    row: int = -1

    def item(self, code: bytes) -> Item:
        """The item with this code."""
        words = " ".join(self.text.split())
        text = words if len(words) <= SNIPPET else words[:SNIPPET].rstrip() + "…"
        text = text.encode(errors="replace").decode()
        return Item(self.id, code, self.path, text, self.labels, self.metadata, self.stamp)


@dataclass(frozen=True)
class Source:
    """Entries, and what they are of.

    Attributes:
      name: for messages.
      entries: with different ids.
      kind: "images", "documents", "vectors" or "codes".
      skipped: what was left out, each as "name: reason".
      num_bits, fingerprint: of the codes of a source of codes; else 0 and empty.
      vectors: of a source of vectors, `[n, width]`.
    """

    name: str
    entries: Sequence[Entry]
    kind: str
    skipped: tuple[str, ...] = ()
    num_bits: int = 0
    fingerprint: str = ""
    vectors: Rows | None = None


def of_images(source: Path) -> Source:
    """Images below a folder, or those that a CSV or JSONL file names.

    An image's id is its path relative to the folder, and its label the sub-folder of the folder
    that it is in, unless that is named "unlabeled"; in a folder divided into train/CLASS and
    test/CLASS it is CLASS.

    Raises:
      UserError: there is no such folder or file, or no image in it.
    """
    source = source.expanduser()
    if source.is_dir():
        names, skipped = _walk(source), []
        layout = _layout(source, names)
        found = [(name, source / name, _label_of(name, layout)) for name in names]
    else:
        listing = list_images(source)
        skipped = list(listing.skipped)
        labels = listing.labels
        one = labels.ndim == 1  # then -1 is an image without a label
        rows = [row[row >= 0] if one else np.flatnonzero(row)
                for row in (labels[:, None] if one else labels)]  # fmt: skip
        found = [
            (name, path, tuple(listing.class_names[label] for label in row))
            for name, path, row in zip(listing.names, listing.paths, rows, strict=True)
        ]
    entries = []
    for name, path, names_of_labels in found:
        try:
            stat = path.stat()
            check_id(name)
            check_labels(names_of_labels)
        except (OSError, ValueError) as error:
            skipped.append(f"{name!r}: {getattr(error, 'strerror', None) or error}")
            continue
        place = os.path.abspath(path)
        stamp = stamp_of(f"{stat.st_size} {stat.st_mtime_ns} {place}", names_of_labels, {})
        entries.append(Entry(name, place, "", names_of_labels, {}, stamp))
    if not entries:
        raise UserError(f"{source} has no images: name a folder or a list that has some.")
    return Source(str(source), entries, "images", tuple(skipped))


def of_jsonl(source: Path) -> Source:
    """Documents or images, one JSON object a line.

    {"id": "a1", "text": "some words", "labels": ["x"]} is a document, and {"path": "a/1.jpg"} an
    image, whose path starts at the file's folder. "tags" is another word for "labels"; all other
    fields are kept as metadata. An image without an id has its path as id.

    Raises:
      UserError: there is no such file, a line in it is neither, or they are mixed.
    """
    source = source.expanduser()
    try:
        lines = read_text(source, "utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{source} is not in UTF-8: save it as UTF-8.") from error
    except OSError as error:
        raise UserError(
            f"{source} cannot be read ({error.strerror or error}): name a JSONL file."
        ) from error
    entries: dict[str, Entry] = {}
    skipped = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = _of_record(json.loads(line), source.parent)
        except FileNotFoundError as error:
            skipped.append(f"line {number}: {error.filename} is missing")
            continue
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UserError(
                f"line {number} of {source} is invalid ({brief(error)}): write a JSON object like "
                f"{_LINE}."
            ) from error
        if entry.id in entries:
            raise UserError(
                f"line {number} of {source} has the id {entry.id!r} again: give each line its own."
            )
        entries[entry.id] = entry
    kinds = {"images" if entry.path else "documents" for entry in entries.values()}
    if len(kinds) != 1:
        wrong = "has no items" if not kinds else "has documents and images"
        raise UserError(f"{source} {wrong}: write a line like {_LINE} for each.")
    return Source(str(source), list(entries.values()), kinds.pop(), tuple(skipped))


def _of_record(record: Any, folder: Path) -> Entry:
    rest = dict(record)
    text, name, path = rest.pop("text", None), rest.pop("id", None), rest.pop("path", None)
    labels = rest.pop("labels", None)
    labels = rest.pop("tags", []) if labels is None else labels
    if (text is None) == (path is None) or not isinstance(text if path is None else path, str):
        raise ValueError("it has neither a text nor a path, or both")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError("labels are no list of strings")
    name = path if name is None else name
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise ValueError("the id is no string")
    tags = check_labels(tuple(label for label in labels if label))
    if path is None:
        stamp = stamp_of(text, tags, rest)
        return Entry(check_id(str(name)), "", text, tags, rest, stamp)
    place = os.path.abspath(folder / path)
    stat = os.stat(place)
    stamp = stamp_of(f"{stat.st_size} {stat.st_mtime_ns} {place}", tags, rest)
    return Entry(check_id(str(name)), place, "", tags, rest, stamp)


def stamp_of(content: str, labels: Iterable[str], metadata: Mapping[str, Any]) -> str:
    """A text that changes when an item does."""
    kept = json.dumps([content, list(labels), dict(metadata)], sort_keys=True)
    return hashlib.sha256(kept.encode()).hexdigest()[:16]


def _layout(root: Path, names: Iterable[str]) -> Layout:
    """Whether a folder is divided into train/CLASS and so on; one half divided is not."""
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    try:
        return find_layout(root, folders - {"."})
    except UserError:
        return Layout({})


def _label_of(name: str, layout: Layout) -> tuple[str, ...]:
    folder = layout.class_of(name)
    return (folder,) if folder and folder.casefold() not in UNLABELED else ()


def _walk(root: Path) -> list[str]:
    """Names of the images below a folder; no folder is visited twice.

    Raises:
      UserError: a folder cannot be listed. To leave out its images would delete them from an index.
    """
    names: list[str] = []
    seen = set()

    def failed(error: OSError) -> None:
        raise UserError(
            f"{error.filename} cannot be listed ({error.strerror}): make it readable, or move it "
            "elsewhere."
        ) from error

    for place, folders, files in os.walk(root, followlinks=True, onerror=failed):
        real = os.path.realpath(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in sorted(files):
            path = Path(place, name)
            if name.startswith(".") or path.suffix.lower() not in ENDINGS or not path.is_file():
                continue
            names.append(path.relative_to(root).as_posix())
    return names


def shard_of(entries: Iterable[Entry], shard: int, shards: int) -> Iterator[Entry]:
    """The entries of one of several shards: which one an id is in depends on the id alone."""
    for entry in entries:
        digest = hashlib.sha256(entry.id.encode()).digest()
        if int.from_bytes(digest[:8]) % shards == shard:
            yield entry
