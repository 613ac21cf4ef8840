"""The items that a split was drawn from, by name and content: a workdir's `items.json`.

An id is a row of the data, and rows shift when a user adds a file. Names and contents do not.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.reading import read_text
from dsh_jax.errors import UserError
from dsh_jax.files import replacing

FILE = "items.json"


@dataclass(frozen=True, eq=False)
class KnownItems:
    """What is known of each item, `[n]`, in the order of their ids.

    Attributes:
      names: of the items.
      contents: a digest of each item's content; empty if it was gone already.
      labels: as in `Dataset`.
      class_names: of the classes or tags.
      version: of the data that the split was drawn from.
    """

    names: tuple[str, ...]
    contents: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    version: str


def known_items(dataset: Dataset) -> KnownItems:
    """The items of a data set that has names and digests of contents."""
    return KnownItems(
        dataset.names, dataset.contents, dataset.labels, dataset.class_names, dataset.version
    )


def save(items: KnownItems, path: Path) -> None:
    """Writes items and a checksum as JSON, atomically."""
    labels: list[Any] = items.labels.tolist()
    if items.labels.ndim == 2:  # mostly zeros
        labels = [np.flatnonzero(row).tolist() for row in items.labels]
    content = {
        "version": items.version, "class_names": items.class_names, "names": items.names,
        "contents": items.contents, "labels": labels, "multi_label": items.labels.ndim == 2,
    }  # fmt: skip
    with replacing(path) as beside:
        beside.write_text(json.dumps(content | {"checksum": _checksum(content)}) + "\n")


def load(path: Path) -> KnownItems:
    """Reads what `save` wrote.

    Raises:
      UserError: the file is damaged.
    """
    try:
        content = json.loads(read_text(path))
        if content.pop("checksum") != _checksum(content):
            raise ValueError("its checksum does not fit")
        names, classes = tuple(content["names"]), tuple(content["class_names"])
        labels = np.array(content["labels"] if not content["multi_label"] else [], np.int32)
        if content["multi_label"]:
            labels = np.zeros((len(names), len(classes)), np.uint8)
            for row, of_item in zip(labels, content["labels"], strict=True):
                row[of_item] = 1
        return KnownItems(names, tuple(content["contents"]), labels, classes, content["version"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{path} is damaged ({reason}): restore it or train again.") from error


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
