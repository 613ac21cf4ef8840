"""Vectors that something else has computed, as what an index is filled from and asked with."""

import hashlib
from pathlib import Path

import numpy as np

from dsh_jax.data.reading import open_regular
from dsh_jax.data.vectors.columns import open_columns
from dsh_jax.data.vectors.dataset import COLUMNS, check_numbers
from dsh_jax.data.vectors.labels import check_length, read_ids, read_labels, read_strings
from dsh_jax.data.vectors.rows import blocks
from dsh_jax.errors import UserError, brief
from dsh_jax.search.items import check_id, check_labels
from dsh_jax.search.sources import Entry, Source, stamp_of

CACHE = "~/.cache/dsh_jax/features"


def of_vectors(source: Path) -> Source:
    """Vectors with their ids, labels and paths, as `data.source = "features"` reads them.

    Without ids, an item's id is its row.

    Args:
      source: a folder, or a .npy, .npz or Parquet file, with columns of the usual names.

    Raises:
      UserError: there is no such file, or it has another content.
    """
    source = source.expanduser()
    found = open_columns(source, Path(CACHE).expanduser())
    vectors = found.matrix(found.find("the vectors", "", COLUMNS["vectors"]))
    check_numbers(vectors, str(source))
    count = len(vectors)
    columns = {
        name: check_length(found.read(name), count, name)
        for name in ("ids", "labels", "paths") if name in found.names
    }  # fmt: skip
    ids = tuple(map(str, range(count)))
    if "ids" in columns:
        ids = read_ids(columns["ids"], f"ids of {source}")
    paths = ("",) * count
    if "paths" in columns:
        paths = read_strings(columns["paths"], f"paths of {source}")
    labels: list[tuple[str, ...]] = [()] * count
    if "labels" in columns:
        listed = found.read("class_names") if "class_names" in found.names else []
        names = read_strings(listed, f"class_names of {source}")
        of_items, classes = read_labels(columns["labels"], names, f"labels of {source}")
        labels = [tuple(classes[k] for k in _classes(row)) for row in of_items]
    entries = []
    try:
        for first, block in blocks(vectors):
            for row, vector in enumerate(block, start=first):
                path = str((found.folder / paths[row]).absolute()) if paths[row] else ""
                content = f"{hashlib.sha256(vector.tobytes()).hexdigest()} {path}"
                stamp = stamp_of(content, labels[row], {})
                entries.append(
                    Entry(check_id(ids[row]), path, "", check_labels(labels[row]), {}, stamp,
                          row=row)
                )  # fmt: skip
    except ValueError as error:
        raise UserError(f"{source}: {brief(error)}; change the column ids or labels.") from error
    return Source(str(source), entries, "vectors", vectors=vectors)


def _classes(row: np.ndarray) -> list[int]:
    """The classes of one item, of its class id or of its row of 0 and 1."""
    if row.ndim:
        return np.flatnonzero(row).tolist()
    return [int(row)] if row >= 0 else []


def vector_in(path: Path) -> np.ndarray:
    """The one vector in a .npy file, `[width]` or `[1, width]`.

    Raises:
      UserError: there is no such file, or it has several.
    """
    try:
        with open_regular(path.expanduser()) as file:
            vector = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        why = getattr(error, "strerror", None) or brief(error)
        raise UserError(
            f"{path} cannot be read ({why}); write one vector with numpy.save."
        ) from error
    if vector.ndim == 0 or vector.size != vector.shape[-1]:
        raise UserError(f"{path} has shape {vector.shape}; a query is one vector, [width].")
    return vector.reshape(-1)
