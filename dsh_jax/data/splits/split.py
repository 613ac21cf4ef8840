"""A split and its file: the ids of each role, with a checksum."""

import hashlib
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.reading import read_text
from dsh_jax.errors import UserError
from dsh_jax.files import replacing

ID_FIELDS = ("query", "labeled", "unlabeled", "validation", "database")
_TEXT_FIELDS = ("protocol", "dataset", "version")


@dataclass(frozen=True, eq=False)
class Split:
    """Ids (rows of a `Dataset`), each int64 [count], sorted and read-only.

    `query`, `labeled`, `unlabeled` and `validation` share no id. `database` is what is searched; it
    shares none with `query`, and the protocol decides which of the others it contains.

    Raises:
      ValueError: ids are not integers of 0 or more, one is there twice, or two roles share one that
        may not.
    """

    protocol: str  # "queries/labeled/database" as counts; "unseen 3 of 10, " may come before
    dataset: str
    version: str
    seed: int
    query: np.ndarray
    labeled: np.ndarray
    unlabeled: np.ndarray  # what training may see without labels
    validation: np.ndarray  # held back from training
    database: np.ndarray
    unseen: tuple[str, ...] = ()  # names of the classes of which training sees no item

    def __post_init__(self) -> None:
        for field in ID_FIELDS:
            given = np.asarray(getattr(self, field))
            if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
                raise ValueError(f"{field} is {given.dtype} {given.shape}, not integers [count]")
            ids = np.sort(given.astype(np.int64))
            if ids.size and ids[0] < 0:
                raise ValueError(f"{field} has the id {ids[0]}, which is below 0")
            twice = ids[1:][ids[1:] == ids[:-1]]
            if twice.size:
                raise ValueError(f"{field} has the id {twice[0]} twice")
            ids.setflags(write=False)
            object.__setattr__(self, field, ids)
        for one, other in (*itertools.combinations(ID_FIELDS[:4], 2), ("query", "database")):
            both = np.intersect1d(getattr(self, one), getattr(self, other), assume_unique=True)
            if both.size:
                raise ValueError(f"{one} and {other} share the id {both[0]}")

    @property
    def training(self) -> np.ndarray:
        """All items that training may see, with labels or without, [count]."""
        return np.union1d(self.labeled, self.unlabeled)

    @property
    def checksum(self) -> str:
        """SHA-256 (hex) over every field; the same on every platform."""
        named: list[object] = [self.protocol, self.dataset, self.version, self.seed]
        if self.unseen:  # without unseen classes it is what it was before there were any
            named.append(list(self.unseen))
        digest = hashlib.sha256(json.dumps(named).encode())
        for field in ID_FIELDS:
            ids = getattr(self, field)
            digest.update(f"\n{field} {len(ids)}\n".encode())
            digest.update(ids.astype("<i8").tobytes())
        return digest.hexdigest()

    @property
    def query_checksum(self) -> str:
        """SHA-256 (hex) over the queries alone, which several splits may share."""
        return hashlib.sha256(self.query.astype("<i8").tobytes()).hexdigest()


def is_of(split: Split, dataset: Dataset) -> bool:
    """Whether a split divides this data, in this version."""
    # The version of a user's own data is a checksum of all of it; splits of version 0.2 have the
    # name of its folder.
    same_data = dataset.contents or split.dataset == dataset.collection
    return bool(same_data) and split.version == dataset.version


def save(split: Split, path: str | os.PathLike[str]) -> None:
    """Writes a split and its checksum as JSON, atomically.

    Raises:
      UserError: the file cannot be written.
    """
    target = Path(path)
    content: dict[str, object] = {field: getattr(split, field) for field in _TEXT_FIELDS}
    content |= {"seed": split.seed, "checksum": split.checksum}
    if split.unseen:
        content["unseen"] = list(split.unseen)
    content |= {field: getattr(split, field).tolist() for field in ID_FIELDS}
    try:
        with replacing(target) as beside:
            beside.write_text(json.dumps(content, separators=(",", ":")) + "\n")
    except OSError as error:
        raise UserError(f"Split file {path} cannot be written ({error.strerror}).") from error


def load(path: str | os.PathLike[str]) -> Split:
    """Reads a split that `save` wrote.

    Raises:
      UserError: there is no such file, it is cut short, edited or not a split, or its ids are not
        those of a `Split`.
    """
    try:
        content = json.loads(read_text(Path(path)))
    except OSError as error:
        raise UserError(f"Split file {path} cannot be read ({error.strerror or error}).") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"Split file {path} is not complete JSON: draw the split again.") from error
    try:
        expected = content.pop("checksum")
        _check_types(content)
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"File {path} is not a split: draw the split again.") from error
    content["unseen"] = tuple(content.get("unseen", ()))
    try:
        split = Split(**content)
    except (ValueError, OverflowError) as error:
        raise UserError(f"Split file {path} is invalid ({error}): draw the split again.") from error
    if split.checksum != expected:
        raise UserError(f"Split file {path} was edited: draw the split again.")
    return split


def _check_types(content: dict[str, object]) -> None:
    """Raises TypeError unless a file's content has a split's fields, each of the right type."""
    unseen = content.get("unseen", [])
    if set(content) - {"unseen"} != {*_TEXT_FIELDS, "seed", *ID_FIELDS}:
        raise TypeError
    if not isinstance(unseen, list):
        raise TypeError
    texts = [type(text) is str for text in (*(content[field] for field in _TEXT_FIELDS), *unseen)]
    numbers: list[object] = [content["seed"]]
    for field in ID_FIELDS:
        ids = content[field]
        if not isinstance(ids, list):
            raise TypeError
        numbers += ids
    # Not `isinstance`: True would count as 1.
    if not all(texts) or any(type(number) is not int for number in numbers):
        raise TypeError


def load_for(dataset: Dataset, path: str | os.PathLike[str]) -> Split:
    """Reads a split that `save` wrote, and checks that it is of this data set.

    Raises:
      UserError: as for `load`; or it is of another data set or version, or has ids out of range.
    """
    split = load(path)
    if not is_of(split, dataset):
        raise UserError(
            f"Split file {path} divides {split.dataset} {split.version}, but the data is"
            f" {dataset.name} {dataset.version}: use the split file of this data."
        )
    ids = np.concatenate([getattr(split, field) for field in ID_FIELDS])
    if ids.max(initial=0) >= len(dataset.labels):
        raise UserError(
            f"Split file {path} has ids beyond the {len(dataset.labels)} items of {dataset.name}:"
            " draw the split again."
        )
    strange = set(split.unseen).difference(dataset.class_names)
    if strange:
        raise UserError(
            f"Split file {path} has the unseen class {min(strange)!r}, which {dataset.name} lacks:"
            " draw the split again."
        )
    return split
