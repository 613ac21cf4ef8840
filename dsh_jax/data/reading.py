"""Reads files that users name: regular files only, and never more than a limit."""

import os
import stat
from pathlib import Path
from typing import IO, Any

MOST_BYTES = 4 * 2**30  # of a list, an archive or a file of documents


def open_regular(path: str | os.PathLike[str], at_most: int = MOST_BYTES) -> IO[bytes]:
    """Opens a file for reading, unless it is something else than a file, or too large.

    Args:
      path: of the file.
      at_most: bytes.

    Raises:
      OSError: it is a folder, a device, a pipe or a socket, is larger, or cannot be opened. None of
        these is read from.
    """
    _check(os.stat(path), at_most)  # opening a device may already do something
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # never waits for a pipe
    try:
        _check(os.fstat(descriptor), at_most)
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: str | os.PathLike[str], at_most: int = MOST_BYTES) -> bytes:
    """The content of a file, under the conditions of `open_regular`.

    A file that claims to have no bytes, like those in /proc, is not read: its content is empty.

    Raises:
      OSError: as `open_regular`.
    """
    with open_regular(path, at_most) as file:
        size = os.fstat(file.fileno()).st_size
        return file.read(size) if size else b""


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """The text in a file, all line ends as "\\n", under the conditions of `open_regular`.

    Raises:
      OSError: as `open_regular`.
      UnicodeDecodeError: it has another encoding.
    """
    text = read_bytes(path).decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n")


class Limited:
    """A binary file that gives no more than some number of bytes, however far it would inflate."""

    def __init__(self, file: Any, limit: int) -> None:
        self._file, self._limit, self._left = file, limit, limit

    def read(self, size: int) -> bytes:
        """The next `size` bytes, or fewer at the end.

        Raises:
          ValueError: the file has more bytes than the limit.
        """
        content: bytes = self._file.read(min(size, self._left + 1))
        self._left -= len(content)
        if self._left < 0:
            raise ValueError(f"it inflates to more than {self._limit:,} bytes")
        return content


def _check(found: os.stat_result, at_most: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError("it is not a regular file")
    if found.st_size > at_most:
        raise OSError(f"it has {found.st_size:,} bytes, more than the limit of {at_most:,}")
