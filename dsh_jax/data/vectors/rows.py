"""Rows of a matrix in a .npy file, read when they are asked for; the file is never read whole.

Rows are read by position. The pages of a mapped file would count as memory of this process, and a
mapped file that becomes shorter would end it without a word.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np

from dsh_jax.data.reading import open_regular
from dsh_jax.errors import UserError, brief

_MOST_BYTES = 2**60
_BLOCK_BYTES = 2**23


class RowFile:
    """A matrix in a file; indexed like an array along its first axis.

    Attributes:
      shape: `(n, width)`.
      dtype: as in the file.
      nbytes: of the matrix.
    """

    ndim = 2

    def __init__(self, path: Path) -> None:
        """Opens the file.

        Raises:
          UserError: there is no such file, or it holds no matrix of floats, row by row.
        """
        self._path = path
        try:
            self._file = open_regular(path, _MOST_BYTES)
            self._stamp = _stamp(os.fstat(self._file.fileno()))
            mapped = np.lib.format.open_memmap(path, mode="r")  # its header; no page is read
        except (OSError, ValueError, EOFError, TypeError) as error:
            why = getattr(error, "strerror", None) or brief(error)
            raise UserError(
                f"{path} cannot be read as an array ({why}); write it with numpy.save."
            ) from error
        check_matrix(mapped, str(path))
        if not mapped.flags.c_contiguous:
            raise UserError(
                f"{path} is stored column by column, so rows cannot be read one by one; save "
                "numpy.ascontiguousarray(array)."
            )
        self.shape, self.dtype, self.nbytes = mapped.shape, mapped.dtype, mapped.nbytes
        self._first = int(mapped.offset)
        self._row_bytes = self.dtype.itemsize * self.shape[1]
        self._check_unchanged()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, ids: np.ndarray) -> np.ndarray:
        """Rows `[m, width]`; neighbours are read at once.

        Raises:
          UserError: the file was changed, replaced or removed since it was opened.
        """
        ids = np.asarray(ids)
        if ids.size and (ids.min() < 0 or ids.max() >= len(self)):
            raise IndexError(f"rows {ids.min()} to {ids.max()} of {len(self)}")
        rows = np.empty((len(ids), self.shape[1]), self.dtype)
        content = rows.view(np.uint8).reshape(-1).data
        descriptor, size = self._file.fileno(), self._row_bytes
        ends = [*(np.flatnonzero(np.diff(ids) != 1) + 1).tolist(), len(ids)]
        first = 0
        for last in ends if len(ids) else ():
            place = self._first + int(ids[first]) * size
            part = content[first * size : last * size]
            if os.preadv(descriptor, [part], place) != len(part):  # rarely: cut off by a signal
                _read(descriptor, part, place)
            first = last
        # Afterwards: what was read before a change is what was there.
        self._check_unchanged()
        return rows

    def in_memory(self) -> np.ndarray:
        """The whole matrix, float32 `[n, width]`."""
        whole = np.empty(self.shape, np.float32)
        for first, block in blocks(self):
            whole[first : first + len(block)] = block
        return whole

    def _check_unchanged(self) -> None:
        try:
            same = _stamp(os.stat(self._path)) == self._stamp
        except OSError:
            same = False
        if not same:
            raise UserError(
                f"{self._path} was changed or replaced while it was in use; restore it and run the "
                "same command again, or train on the new one in another --workdir."
            )


Rows: TypeAlias = np.ndarray | RowFile


def check_matrix(array: np.ndarray, name: str) -> None:
    """Refuses what is not a matrix of floats with rows and columns.

    Raises:
      UserError: names what it is.
    """
    if array.ndim != 2 or 0 in array.shape:
        raise UserError(f"{name} has shape {array.shape}; vectors are [n, width], one in each row.")
    if array.dtype.kind != "f":
        raise UserError(
            f"{name} has numbers of type {array.dtype}; vectors are float16, float32 or float64."
        )


def blocks(rows: Rows, ids: np.ndarray | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Rows as float32, a few megabytes at a time.

    Args:
      rows: the matrix.
      ids: which rows, `[m]`; None for all of them.

    Yields:
      The place of the block's first row among `ids`, and the block `[b, width]`.
    """
    count = len(rows) if ids is None else len(ids)
    size = max(1, _BLOCK_BYTES // (4 * rows.shape[1]))
    for first in range(0, count, size):
        last = min(first + size, count)
        wanted = np.arange(first, last) if ids is None else ids[first:last]
        yield first, as_float32(rows[wanted])


def as_float32(rows: np.ndarray) -> np.ndarray:
    """Rows as float32; what does not fit becomes infinite."""
    with np.errstate(over="ignore"):
        return rows.astype(np.float32, copy=False)


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read(descriptor: int, content: memoryview, place: int) -> None:
    """Fills `content` from a place of a file; leaves the rest as it is where the file ends."""
    while len(content):
        count = os.preadv(descriptor, [content], place)
        if not count:
            return  # the file was cut short, which the caller checks
        content, place = content[count:], place + count
