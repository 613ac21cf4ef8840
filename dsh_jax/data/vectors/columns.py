"""Named columns of a user's files: vectors, and what is known of each of them.

They are in a folder of .npy and .txt files, in one .npz file, or in one Parquet file. A .npy file
is the column "vectors" alone. Whatever the form, a column may also be a file of its own.
"""

import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsh_jax.data.lines import Mistakes, decoded
from dsh_jax.data.reading import MOST_BYTES, open_regular, read_bytes
from dsh_jax.data.vectors import parquet
from dsh_jax.data.vectors.rows import RowFile, Rows, check_matrix
from dsh_jax.errors import UserError, brief

VECTORS = "vectors"
FILES = (".npy", ".txt")

Values = np.ndarray | list[Any]


@dataclass(frozen=True)
class Columns:
    """The columns of a source.

    Attributes:
      source: for messages.
      folder: where the names of files start.
      names: of the columns.
      values: name -> a whole column: an array, or a list in which None is a missing value.
      rows: name -> a matrix of floats.
    """

    source: Path
    folder: Path
    names: tuple[str, ...]
    values: Callable[[str], Values]
    rows: Callable[[str], Rows]

    def find(self, field: str, asked: str, usual: str) -> str:
        """The column or the file that a config's field names.

        Args:
          field: its name, for messages.
          asked: its value; empty for the column of the usual name.
          usual: that name.

        Returns:
          The name; empty if none was asked for and there is no usual one.

        Raises:
          UserError: there is no such column and no such file.
        """
        name = asked or usual
        if name in self.names or (asked and (self.folder / asked).is_file()):
            return name
        if not asked and usual != VECTORS:
            return ""
        there = ", ".join(self.names[:20]) or "none"
        raise UserError(
            f"{self.source} has no column {name!r} (it has: {there}), and there is no such file "
            f"beside it; set {field} to one of them, or to a .npy or .txt file."
        )

    def read(self, name: str) -> Values:
        """A whole column, or what is in a file of that name."""
        return self.values(name) if name in self.names else _of_file(self.folder / name)

    def matrix(self, name: str) -> Rows:
        """A column of vectors, or those in a .npy file of that name."""
        return self.rows(name) if name in self.names else RowFile(self.folder / name)


def open_columns(root: Path, cache: Path) -> Columns:
    """The columns of a file or a folder.

    Args:
      root: a folder, or a .npy, .npz or Parquet file.
      cache: a folder; vectors of a Parquet file are kept in it as .npy.

    Raises:
      UserError: it is none of these, or cannot be read.
    """
    ending = root.suffix.lower()
    if root.is_dir():
        files = {path.stem: path for path in sorted(root.iterdir()) if path.suffix in FILES}
        return _of_files(root, root, files)
    if not root.exists():
        raise UserError(f"there is no {root}; set data.root to a file of vectors or its folder.")
    if ending == ".npy":
        return _of_files(root, root.parent, {VECTORS: root})
    if ending == ".npz":
        arrays = _npz(root)
        return Columns(
            root, root.parent, tuple(arrays), arrays.__getitem__,
            lambda name: _checked(arrays[name], f"{name!r} of {root}"),
        )  # fmt: skip
    if ending in parquet.ENDINGS:
        return Columns(
            root, root.parent, parquet.names(root), lambda name: parquet.values(root, name),
            lambda name: RowFile(parquet.as_npy(root, name, cache)),
        )  # fmt: skip
    raise UserError(
        f"{root} is not a folder and does not end in .npy, .npz or {' or '.join(parquet.ENDINGS)}; "
        "set data.root to one of these."
    )


def _of_files(source: Path, folder: Path, files: dict[str, Path]) -> Columns:
    return Columns(
        source, folder, tuple(files), lambda name: _of_file(files[name]),
        lambda name: RowFile(files[name]),
    )  # fmt: skip


def _checked(array: np.ndarray, name: str) -> np.ndarray:
    check_matrix(array, name)
    return array


def _npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a .npz file, which must fit into memory."""
    try:
        with open_regular(path) as file:
            with zipfile.ZipFile(file) as archive:
                size = sum(member.file_size for member in archive.infolist())
            if size > MOST_BYTES:
                raise UserError(
                    f"{path} holds {size:,} bytes, more than the limit of {MOST_BYTES:,} for .npz "
                    "files, which are read whole; save its vectors as a .npy file."
                )
            file.seek(0)
            with np.load(file, allow_pickle=False) as content:
                return {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError,
            zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        raise UserError(
            f"{path} cannot be read ({brief(error)}); write it with numpy.savez, without objects."
        ) from error


def _of_file(path: Path) -> Values:
    """The array in a .npy file, or the lines of a text file."""
    try:
        if path.suffix == ".npy":
            with open_regular(path) as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        content = read_bytes(path)
    except (OSError, ValueError, EOFError) as error:
        why = getattr(error, "strerror", None) or brief(error)
        raise UserError(
            f"{path} cannot be read ({why}); write it with numpy.save, without objects, or as "
            "text in UTF-8."
        ) from error
    mistakes = Mistakes(path, "write one value a line, in UTF-8")
    lines = [line for _, line in decoded(content, mistakes)]
    mistakes.check()
    if lines and not lines[-1]:
        lines.pop()  # the file ends in a line end
    return _as_integers(lines)


def _as_integers(lines: Sequence[str]) -> Values:
    """Lines as integers where all of them are, so that classes are in the order of numbers."""
    try:
        return np.array([int(line) for line in lines], np.int64) if lines else []
    except (ValueError, OverflowError):
        return list(lines)
