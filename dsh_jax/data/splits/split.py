"""A split and its file: the ids of each role, with a checksum."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsh_jax.data.dataset import Dataset
from dsh_jax.errors import UserError
from dsh_jax.files import replacing

ID_FIELDS = ("query", "labeled", "unlabeled", "validation", "database")
_TEXT_FIELDS = ("protocol", "dataset", "version")


@dataclass(frozen=True, eq=False)
class Split:
    """Ids (rows of a `Dataset`), each int64 [count], sorted and read-only.

    `query`, `labeled`, `unlabeled` and `validation` share no id. `database` is what is searched; it
    shares none with `query`, and the protocol decides which of the others it contains.
    """

    protocol: str  # "queries/labeled/database" as counts
    dataset: str
    version: str
    seed: int
    query: np.ndarray
    labeled: np.ndarray
    unlabeled: np.ndarray  # what training may see without labels
    validation: np.ndarray  # held back from training
    database: np.ndarray

    def __post_init__(self) -> None:
        for field in ID_FIELDS:
            ids = np.sort(np.asarray(getattr(self, field), np.int64))
            if ids.ndim != 1:
                raise ValueError(f"{field} should be ids [count], not {ids.shape}")
            ids.setflags(write=False)
            object.__setattr__(self, field, ids)

    @property
    def training(self) -> np.ndarray:
        """All items that training may see, with labels or without, [count]."""
        return np.union1d(self.labeled, self.unlabeled)

    @property
    def checksum(self) -> str:
        """SHA-256 (hex) over every field; the same on every platform."""
        named = [self.protocol, self.dataset, self.version, self.seed]
        digest = hashlib.sha256(json.dumps(named).encode())
        for field in ID_FIELDS:
            ids = getattr(self, field)
            digest.update(f"\n{field} {len(ids)}\n".encode())
            digest.update(ids.astype("<i8").tobytes())
        return digest.hexdigest()


def save(split: Split, path: str | os.PathLike[str]) -> None:
    """Writes a split and its checksum as JSON, atomically.

    Raises:
      UserError: the file cannot be written.
    """
    target = Path(path)
    content: dict[str, object] = {field: getattr(split, field) for field in _TEXT_FIELDS}
    content |= {"seed": split.seed, "checksum": split.checksum}
    content |= {field: getattr(split, field).tolist() for field in ID_FIELDS}
    try:
        with replacing(target) as beside:
            beside.write_text(json.dumps(content, separators=(",", ":")) + "\n")
    except OSError as error:
        raise UserError(f"Split file {path} cannot be written ({error.strerror}).") from error


def load(path: str | os.PathLike[str]) -> Split:
    """Reads a split that `save` wrote.

    Raises:
      UserError: there is no such file, or it is cut short, edited or not a split.
    """
    try:
        content = json.loads(Path(path).read_text())
    except OSError as error:
        raise UserError(f"Split file {path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise UserError(f"Split file {path} is not complete JSON: draw the split again.") from error
    try:
        expected = content.pop("checksum")
        split = Split(**content)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"File {path} is not a split: draw the split again.") from error
    if split.checksum != expected:
        raise UserError(f"Split file {path} was edited: draw the split again.")
    return split


def load_for(dataset: Dataset, path: str | os.PathLike[str]) -> Split:
    """Reads a split that `save` wrote, and checks that it is of this data set.

    Raises:
      UserError: as for `load`; or it is of another data set or version, or has ids out of range.
    """
    split = load(path)
    if (split.dataset, split.version) != (dataset.name, dataset.version):
        raise UserError(
            f"Split file {path} divides {split.dataset} {split.version}, but the data is"
            f" {dataset.name} {dataset.version}: use the split file of this data."
        )
    ids = np.concatenate([getattr(split, field) for field in ID_FIELDS])
    if ids.min(initial=0) < 0 or ids.max(initial=0) >= len(dataset.labels):
        raise UserError(
            f"Split file {path} has ids beyond the {len(dataset.labels)} items of {dataset.name}:"
            " draw the split again."
        )
    return split
