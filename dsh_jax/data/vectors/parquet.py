"""Columns of a Parquet file. Its vectors are written once to a .npy file, to be read by row."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from dsh_jax.errors import UserError, brief
from dsh_jax.files import locked, replacing

ENDINGS = (".parquet", ".pq")
_FORMAT = 1  # of what is kept
_BATCH = 4096  # rows read at a time


def names(path: Path) -> tuple[str, ...]:
    """The names of the columns.

    Raises:
      UserError: the file is no Parquet file.
    """
    return tuple(_open(path).schema_arrow.names)


def values(path: Path, name: str) -> np.ndarray | list[Any]:
    """A whole column: numbers as an array, anything else, or with missing values, as a list.

    Raises:
      UserError: the file is damaged.
    """
    import pyarrow

    try:
        column = _open(path).read(columns=[name]).column(name)
    except (OSError, pyarrow.ArrowException) as error:
        raise _damaged(path, error) from error
    is_number = pyarrow.types.is_integer(column.type) or pyarrow.types.is_floating(column.type)
    if (is_number or pyarrow.types.is_boolean(column.type)) and not column.null_count:
        return column.to_numpy()
    return column.to_pylist()


def as_npy(path: Path, name: str, cache: Path) -> Path:
    """The .npy file with the vectors of a column, float32 `[n, width]`; made if it is not there.

    Args:
      path: of the Parquet file.
      name: of a column of lists of floats, all of one length.
      cache: the folder of the .npy file. Where it lies depends on place, size and time of change of
        the Parquet file.

    Raises:
      UserError: the column has other values, or the file is damaged.
    """
    found = path.stat()
    key = [_FORMAT, str(path.resolve()), name, found.st_size, found.st_mtime_ns]
    target = cache / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.npy"
    if not target.exists():
        with locked(target):
            if not target.exists():
                _convert(path, name, target)
    return target


def _convert(path: Path, name: str, target: Path) -> None:
    import pyarrow

    file = _open(path)
    kind = file.schema_arrow.field(name).type
    is_list = any(
        check(kind) for check in (pyarrow.types.is_list, pyarrow.types.is_large_list,
                                  pyarrow.types.is_fixed_size_list)
    )  # fmt: skip
    if not is_list or not pyarrow.types.is_floating(kind.value_type):
        raise UserError(
            f"column {name!r} of {path} is of type {kind}; vectors are lists of floats, all of one "
            "length."
        )
    width, rows = 0, 0
    with replacing(target) as beside, beside.open("wb") as output:
        try:
            for batch in file.iter_batches(_BATCH, columns=[name]):
                block = _block(batch.column(0), path, name, rows)
                if not rows:
                    width = block.shape[1]
                    shape = (file.metadata.num_rows, width)
                    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(output, header)
                if block.shape[1] != width:
                    raise _uneven(path, name, width, block.shape[1], rows)
                output.write(block.astype("<f4").tobytes())
                rows += len(block)
        except (OSError, pyarrow.ArrowException) as error:
            if isinstance(error, OSError) and error.errno:
                raise  # of the disk
            raise _damaged(path, error) from error
        if not rows:
            raise UserError(f"{path} has no rows; write one vector a row.")


def _block(column: Any, path: Path, name: str, first: int) -> np.ndarray:
    """Lists of one length as a matrix, `[rows, width]`."""
    if column.null_count:
        missing = first + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise UserError(
            f"row {missing} of {path} has no {name!r}; fill it in, or leave out the row."
        )
    lengths = np.asarray(column.value_lengths().to_numpy(zero_copy_only=False))
    if (lengths != lengths[0]).any():
        wrong = int(np.flatnonzero(lengths != lengths[0])[0])
        raise _uneven(path, name, int(lengths[0]), int(lengths[wrong]), first + wrong)
    # A missing number becomes NaN, which is refused later with all others.
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), int(lengths[0]))


def _open(path: Path) -> Any:
    import pyarrow
    import pyarrow.parquet  # slow to import, and only needed here

    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read as Parquet ({brief(error)}); write it again.")


def _uneven(path: Path, name: str, width: int, other: int, row: int) -> UserError:
    return UserError(
        f"row {row} of {path} has {other} numbers as {name!r}, and rows before it have {width}; "
        "give all vectors one length."
    )
