"""What caches hold already, so that only new and changed files are decoded."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader

_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"  # for random access


def open_cache(path: Path) -> tuple[Any, dict[str, Any]] | None:
    """A cache's reader and its last record; None if the cache is missing or damaged."""
    if not path.is_file():
        return None
    reader = ArrayRecordReader(str(path), _OPTIONS, file_reader_buffer_size=2**15)
    if not reader.ok() or not reader.num_records():
        return None
    try:
        return reader, dict(json.loads(reader.read([reader.num_records() - 1])[0]))
    except (RuntimeError, ValueError, TypeError):
        return None


class Earlier:
    """The images in some caches, found by file or by content.

    Args:
      paths: of the caches. One that is damaged, or made otherwise than `made`, is passed over.
      made: fields of the last record that say how images were made.
    """

    def __init__(self, paths: Iterable[Path], made: dict[str, Any]) -> None:
        self._of_stamp: dict[str, tuple[Any, int, str]] = {}
        self._of_content: dict[str, tuple[Any, int, str]] = {}
        for path in paths:
            found = open_cache(path)
            if found is None or {name: found[1].get(name) for name in made} != made:
                continue
            reader, index = found
            known = zip(index.get("stamps", []), index.get("contents", []), strict=True)
            for row, (stamp, content) in enumerate(known):
                self._of_stamp[stamp] = self._of_content[content] = (reader, row, content)
        self._of_stamp.pop("", None)  # a file that was there only for a moment

    def knows(self, stamp: str) -> bool:
        """Whether a file with this path, size and time of change is in a cache."""
        return stamp in self._of_stamp

    def of_stamp(self, stamp: str) -> tuple[bytes, str] | None:
        """The record of such a file and the digest of its content; None if there is none."""
        return self._read(self._of_stamp.get(stamp))

    def of_content(self, digest: str) -> bytes | None:
        """The record of a file with this content; None if there is none."""
        found = self._read(self._of_content.get(digest))
        return found and found[0]

    def _read(self, place: tuple[Any, int, str] | None) -> tuple[bytes, str] | None:
        if place is None:
            return None
        reader, row, content = place
        try:
            return bytes(reader.read([row])[0]), content
        except RuntimeError:  # what array_record raises for a wrong checksum
            return None
