"""What an index holds, and what it answers with."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dsh_jax.errors import UserError

MOST_ID_BYTES = 1024
MOST_LABELS = 256  # of an item
MOST_LABEL_BYTES = 512
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
SNIPPET = 200  # characters of a document that are kept


@dataclass(frozen=True, slots=True)
class Item:
    """An item of an index.

    Attributes:
      id: unique in the index; ties of distance are ordered by it.
      code: packed, `ceil(num_bits / 8)` bytes.
      path: of its file; empty if it has none.
      text: the beginning of a document; empty for images.
      labels: names of its classes or tags; an item may have none.
      metadata: whatever else was given with it, ready for JSON.
      stamp: changes when the item's content changes.
    """

    id: str
    code: bytes
    path: str = ""
    text: str = ""
    labels: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    stamp: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, with the code as hexadecimal digits."""
        return {
            "id": self.id, "path": self.path, "text": self.text, "labels": list(self.labels),
            "metadata": dict(self.metadata), "code": self.code.hex(),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hit:
    """An item that a search found, and its Hamming distance to the query, in bits."""

    distance: int
    item: Item

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"distance": self.distance, **self.item.to_dict()}


def check_id(name: str) -> str:
    """The id, if it is one.

    Raises:
      ValueError: it is empty, too long, or has control characters or parts of no character.
    """
    if not name or _CONTROL.search(name):
        raise ValueError("an id must have characters, and no control characters")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise ValueError("an id must be Unicode text") from error
    if size > MOST_ID_BYTES:
        raise ValueError(f"an id may have up to {MOST_ID_BYTES} bytes, and this one has {size:,}")
    return name


def check_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    """The labels, each once.

    Raises:
      ValueError: there are too many, or one is empty, too long or not Unicode.
    """
    if not labels:
        return ()
    labels = tuple(dict.fromkeys(labels))
    try:
        sizes = [len(label.encode()) for label in labels]
    except UnicodeEncodeError as error:
        raise ValueError("labels must be Unicode text") from error
    if len(labels) > MOST_LABELS or not all(0 < size <= MOST_LABEL_BYTES for size in sizes):
        raise ValueError(
            f"an item may have up to {MOST_LABELS} labels of 1 to {MOST_LABEL_BYTES} bytes"
        )
    return labels


class UnknownItem(UserError):
    """An id that is not in an index."""


def unknown_id(name: str, uri: str) -> UnknownItem:
    """The error for an id that is not in an index."""
    return UnknownItem(f"there is no item {name!r} in {uri}: take an id that a query has printed.")
