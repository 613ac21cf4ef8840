"""Vectors as a data set: in memory if they are few, otherwise read from their file by row."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.vectors.columns import VECTORS, Columns, open_columns
from dsh_jax.data.vectors.inputs import MOST_WIDTH, VectorInputs, fit_inputs
from dsh_jax.data.vectors.labels import (
    check_length,
    read_ids,
    read_labels,
    read_marks,
    read_strings,
)
from dsh_jax.data.vectors.rows import RowFile, Rows, blocks
from dsh_jax.errors import UserError

COLUMNS = {"vectors": VECTORS, "labels": "labels", "ids": "ids", "test": "test",
           "paths": "paths", "class_names": "class_names"}  # fmt: skip
"""Config field in `data` -> the usual name of its column."""


@dataclass(frozen=True, eq=False, kw_only=True)
class VectorDataset(Dataset):
    """Vectors; networks take them as `vector`.

    Attributes:
      vectors: floats `[n, width]`, an array or a file.
      normalise: how; one of `inputs.NORMALISATIONS`.
      fitted: how a vector becomes a network's input; None before `fit`.
      paths: of a picture of each item `[n]`; empty where there are none, as is each one's that has
        none.
      storage: where the vectors are, and why.
    """

    vectors: Rows
    normalise: str = "none"
    fitted: VectorInputs | None = None
    paths: tuple[str, ...] = ()
    storage: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vectors.ndim != 2 or len(self.vectors) != len(self):
            raise ValueError(
                f"vectors {self.vectors.shape} of {len(self)} labels should be [n, width]"
            )
        if len(self.paths) not in (0, len(self)):
            raise ValueError(f"{len(self.paths)} paths of {len(self)} items")

    def fit(self, ids: np.ndarray, saved: VectorInputs | None) -> "VectorDataset":
        """The same data with its normalisation.

        Args:
          ids: of the training items, `[m]`.
          saved: of an earlier run or of an encoder; taken where it is of this width.
        """
        if saved is None or saved.width != self.vectors.shape[1]:
            saved = fit_inputs(self.vectors, ids, self.normalise)
        return replace(self, fitted=saved)

    @property
    def inputs(self) -> VectorInputs:
        """How a vector becomes a network's input."""
        if self.fitted is None:
            raise ValueError(f"the normalisation of {self.name} is not fitted yet")
        return self.fitted

    def take(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """`vector`: normalised, float32 `[m, width]`."""
        return self.inputs.rows(self.vectors[ids])

    def features(self, ids: np.ndarray) -> np.ndarray:
        """The same vectors as networks take, float32 `[m, width]`."""
        return self.take(ids)["vector"]

    def remarks(self) -> list[str]:
        """Where the vectors are, and the notes."""
        width = self.vectors.shape[1]
        normal = f"vectors     {len(self):,} of {width:,} numbers, normalised by {self.normalise!r}"
        return [normal, f"storage     {self.storage}", *super().remarks()]


def load_vectors(
    root: Path,
    columns: dict[str, str],
    *,
    normalise: str,
    cache: Path,
    memory_limit_gb: float,
    collection: str = "features",
) -> VectorDataset:
    """Reads everything but the vectors, and checks these block by block.

    Args:
      root: as for `open_columns`.
      columns: key of `COLUMNS` -> column or file; empty for the usual one, if there is one.
      normalise: one of `inputs.NORMALISATIONS`.
      cache: a folder for vectors of Parquet files.
      memory_limit_gb: limit for vectors kept in memory, in 10^9 bytes.
      collection: what splits and results call the data.

    Raises:
      UserError: a file or a column is missing or damaged, or has something else in it; vectors have
        NaN or infinity; or nothing has a label.
    """
    found = open_columns(root.expanduser(), cache.expanduser())
    named = {field: found.find(f"data.{field}", columns.get(field, ""), usual)
             for field, usual in COLUMNS.items()}  # fmt: skip
    vectors = found.matrix(named["vectors"])
    count, width = vectors.shape
    if width > MOST_WIDTH:
        raise UserError(f"{root} has vectors of {width:,} numbers; the limit is {MOST_WIDTH:,}.")
    fields = _read(found, named, count)
    labels = fields["labels"]
    if not (labels >= 0 if labels.ndim == 1 else labels.any(axis=1)).any():
        raise UserError(
            f"no vector of {root} has a label, and codes are learned from some at least; name the "
            "column or the file of the labels in data.labels."
        )
    version, zeros = check_numbers(vectors, str(root))
    digests = [hashlib.sha256(x.tobytes()).hexdigest() for x in (labels, fields["is_test"])]
    made_of = [version, fields["class_names"], fields["names"], labels.shape, *digests]
    kept, storage = _choose(vectors, memory_limit_gb)
    notes = [f"warning     vectors that are zero, and have no direction: {zeros:,}"] * bool(zeros)
    return VectorDataset(
        name=root.stem, collection=collection, vectors=kept, normalise=normalise, storage=storage,
        version=hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16],
        notes=tuple(notes), **fields,
    )  # fmt: skip


def _read(found: Columns, named: dict[str, str], count: int) -> dict[str, Any]:
    """All but the vectors, as fields of the data set."""

    def read(field: str) -> Any:
        name = named[field]
        if not name:
            return None
        values = found.read(name)
        return values if field == "class_names" else check_length(values, count, field)

    values = {field: read(field) for field in COLUMNS if field != "vectors"}

    def what(field: str) -> str:
        return f"{field} of {found.source} (data.{field})"

    def strings(field: str) -> tuple[str, ...]:
        found = values[field]
        return () if found is None else read_strings(found, what(field))

    labels = np.full(count, -1, np.int32)
    class_names: tuple[str, ...] = ()
    if values["labels"] is not None:
        names = strings("class_names")
        labels, class_names = read_labels(values["labels"], names, what("labels"))
    test = values["test"]
    ids, paths = values["ids"], strings("paths")
    return {
        "labels": labels,
        "class_names": class_names,
        "names": () if ids is None else read_ids(ids, what("ids")),
        "is_test": np.zeros(count, bool) if test is None else read_marks(test, what("test")),
        "paths": tuple(str(found.folder / path) if path else "" for path in paths),
    }


def check_numbers(vectors: Rows, name: str) -> tuple[str, int]:
    """A checksum of the vectors as float32, and how many of them are zero.

    Raises:
      UserError: some hold NaN or infinity; names the first rows.
    """
    digest, bad, zeros = hashlib.sha256(f"{vectors.shape}".encode()), [], 0
    for first, block in blocks(vectors):
        digest.update(block.astype("<f4", copy=False).tobytes())
        # A sum is finite where all are, or nearly: rows are looked at where it is not.
        if not np.isfinite(block.sum(dtype=np.float64)):
            bad.append(first + np.flatnonzero(~np.isfinite(block).all(axis=1)))
        zeros += int((~block.any(axis=1)).sum())
    if bad:
        rows = np.concatenate(bad)
        few = ", ".join(map(str, rows[:10])) + (", ..." if len(rows) > 10 else "")
        raise UserError(
            f"{name} has NaN, infinity or numbers beyond float32 in {len(rows):,} of its vectors "
            f"(rows {few}, from 0); leave them out or compute them again."
        )
    return digest.hexdigest(), zeros


def _choose(vectors: Rows, limit_gb: float) -> tuple[Rows, str]:
    """The vectors as one array, or as a file if they exceed the limit; and why."""
    bytes_in_memory = 4 * vectors.shape[0] * vectors.shape[1]
    size, limit = f"{bytes_in_memory / 1e9:.3f} GB", f"data.memory_limit_gb={limit_gb:g}"
    if not isinstance(vectors, RowFile):
        array = vectors.astype(np.float32)
        array.setflags(write=False)
        return array, f"{size} of a .npz file: kept in memory"
    if bytes_in_memory > limit_gb * 1e9:
        return vectors, f"{size} is more than {limit}: read from the file, row by row"
    array = vectors.in_memory()
    array.setflags(write=False)
    return array, f"{size} is within {limit}: kept in memory"
