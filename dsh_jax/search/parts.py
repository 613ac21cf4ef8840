"""Encoding by several processes or machines: each writes parts of its own, and one loads them all.

A part is an NPZ file with the codes of some entries, written whole or not at all. A worker encodes
the entries of its shard that no part of the folder has, so it goes on where it was stopped.
"""

import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dsh_jax import hamming
from dsh_jax.data.reading import open_regular
from dsh_jax.errors import UserError, brief
from dsh_jax.files import remove_abandoned, replacing
from dsh_jax.search.items import Item, check_id, check_labels
from dsh_jax.search.sources import Entry, Source

_FORMAT = 1


class Parts:
    """A folder of parts that one worker adds to.

    Args:
      folder: of all parts; made as needed.
      shard: number of the worker's shard.
      shards: how many there are.
      num_bits, fingerprint: of the codes.

    Raises:
      UserError: there are parts of another model, or a damaged one.
    """

    def __init__(
        self, folder: Path, shard: int, shards: int, *, num_bits: int, fingerprint: str
    ) -> None:
        self._folder = folder
        self._stem = f"part-{shard}-of-{shards}"
        self._head = {"format": _FORMAT, "num_bits": num_bits, "fingerprint": fingerprint}
        folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder)
        self._stamps: dict[str, str] = {}
        for path in _paths(folder):
            head, entries = _read(path)
            if head != self._head:
                raise UserError(f"{path} is of another model: name another folder for --parts.")
            self._stamps |= {entry.id: entry.stamp for entry in entries}
        numbers = [int(path.stem.rpartition("-")[2]) for path in folder.glob(f"{self._stem}-*.npz")]
        self._next = max(numbers, default=-1) + 1

    def stamps(self) -> dict[str, str]:
        """The stamps of all entries that a part has, by id."""
        return dict(self._stamps)

    def add(self, items: Sequence[Item]) -> None:
        """Writes one more part.

        Raises:
          OSError: it cannot be written.
        """
        rows = [[x.id, x.path, x.text, x.labels, x.metadata, x.stamp] for x in items]
        content = json.dumps({"head": self._head, "rows": rows}).encode()
        codes = np.frombuffer(b"".join(item.code for item in items), np.uint8)
        path = self._folder / f"{self._stem}-{self._next:08}.npz"
        with replacing(path) as beside, beside.open("wb") as file:
            np.savez(
                file, allow_pickle=False, codes=codes.reshape(len(items), -1),
                content=np.frombuffer(content, np.uint8),
            )  # fmt: skip
        self._next += 1
        self._stamps |= {item.id: item.stamp for item in items}


def of_parts(folder: Path) -> Source:
    """All that the parts of a folder have; of an entry that two parts have, the later file's.

    Raises:
      UserError: there are no parts, or they are damaged or of different models.
    """
    folder = folder.expanduser()
    entries: dict[str, Entry] = {}
    first: dict[str, Any] | None = None
    for path in sorted(_paths(folder), key=lambda path: (path.stat().st_mtime_ns, path.name)):
        head, found = _read(path)
        first = first or head
        if head != first:
            raise UserError(f"{path} is of another model than other parts: remove one of the two.")
        entries |= {entry.id: entry for entry in found}
    if first is None or not entries:
        raise UserError(f"{folder} has no parts: make some with search.py encode.")
    return Source(
        str(folder), list(entries.values()), "codes", (), first["num_bits"], first["fingerprint"]
    )


def _paths(folder: Path) -> Iterable[Path]:
    return sorted(folder.glob("part-*-of-*-*.npz"))


def _read(path: Path) -> tuple[dict[str, Any], list[Entry]]:
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as arrays:
            codes, content = arrays["codes"], json.loads(arrays["content"].tobytes())
        head, rows = content["head"], content["rows"]
        if head["format"] != _FORMAT:
            raise ValueError(f"format {head['format']!r}")
        hamming.check_packed(codes, head["num_bits"])
        entries = [
            Entry(check_id(name), str(place), str(text), check_labels(tuple(labels)),
                  dict(metadata), str(stamp), code.tobytes())
            for (name, place, text, labels, metadata, stamp), code in zip(rows, codes, strict=True)
        ]  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} cannot be read as a part ({brief(error)}): remove it, and run search.py "
            "encode again."
        ) from error
    return head, entries
