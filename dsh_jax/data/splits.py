"""Which items are queries, labeled, unlabeled, validation and database: drawn, named, checked.

Published scores on the same data differ by many points with the protocol alone, so a split carries
its name ("1000/5000/59000": queries / labeled / database) and a checksum of its ids.
"""

import hashlib
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsh_jax.data.dataset import Dataset
from dsh_jax.errors import UserError
from dsh_jax.files import replacing

# Named protocols: (queries_per_class, labeled_per_class, database), as `draw` takes them.
PROTOCOLS = {
    "1000/5000/59000": (100, 500, "rest"),  # CIFAR-10, the papers'
    "1000/5000/54000": (100, 500, "unlabeled"),  # CIFAR-10
    "10000/5000/50000": (0, 500, "rest"),  # CIFAR-10, the official test set as queries
    "10000/50000/50000": (0, 0, "rest"),  # CIFAR-10, all of the train set labeled
    "2100/10500/193734": (100, 500, "rest"),  # NUS-WIDE-21, mAP at 5,000
}
ID_FIELDS = ("query", "labeled", "unlabeled", "validation", "database")
_TEXT_FIELDS = ("protocol", "dataset", "version")


@dataclass(frozen=True, eq=False)
class Split:
    """Ids (rows of a `Dataset`), each int64 [count], sorted and read-only.

    `query`, `labeled`, `unlabeled` and `validation` share no id. `database` is what is searched; it
    shares none with `query`, and overlaps the others as the protocol says.
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
    def checksum(self) -> str:
        """SHA-256 (hex) over every field; the same on every platform."""
        named = [self.protocol, self.dataset, self.version, self.seed]
        digest = hashlib.sha256(json.dumps(named).encode())
        for field in ID_FIELDS:
            ids = getattr(self, field)
            digest.update(f"\n{field} {len(ids)}\n".encode())
            digest.update(ids.astype("<i8").tobytes())
        return digest.hexdigest()


def stream_rng(seed: int, stream: str, index: int) -> np.random.Generator:
    """A generator of random numbers that depends on (seed, stream, index) and nothing else."""
    return np.random.default_rng([seed, zlib.crc32(stream.encode()), index])


def draw(
    dataset: Dataset,
    *,
    seed: int,
    queries_per_class: int,
    labeled_per_class: int,
    database: str,
    validation_per_class: int,
    validation_from: str,
) -> Split:
    """Draws a split, stratified by class.

    The queries depend on the seed and `queries_per_class` alone, and the labeled images of a
    smaller `labeled_per_class` are among those of a larger one, so that runs with more or fewer
    labels can be compared.

    Args:
      dataset: the items to divide.
      seed: not negative.
      queries_per_class: 0 means the official test items; all others then are train items.
      labeled_per_class: 0 means every train item that is not a query.
      database: "rest" (every item that is not a query) or "unlabeled" (neither a query nor drawn as
        labeled).
      validation_per_class: images held back from training; 0 means none.
      validation_from: "unlabeled" (validation stays in the database and is left out of `unlabeled`)
        or "labeled" (taken out of the drawn labeled images; the protocol counts them as labeled).

    Raises:
      UserError: a class has too few images, or an argument is outside what is said above.
    """
    counts = {
        "queries_per_class": queries_per_class,
        "labeled_per_class": labeled_per_class,
        "validation_per_class": validation_per_class,
    }
    _check_arguments(dataset, seed, counts, database, validation_from)
    held_from_labeled = validation_per_class if validation_from == "labeled" else 0
    held_from_unlabeled = validation_per_class - held_from_labeled

    queries, drawn, trained, validation, unlabeled = [], [], [], [], []
    for label, class_name in enumerate(dataset.class_names):
        of_class = dataset.labels == label
        if queries_per_class == 0:
            query = np.flatnonzero(of_class & dataset.is_test)
            rest = np.flatnonzero(of_class & ~dataset.is_test)
        else:
            ids = np.flatnonzero(of_class)
            shuffled = stream_rng(seed, "split/query", label).permutation(ids)
            query, rest = shuffled[:queries_per_class], np.sort(shuffled[queries_per_class:])
        _check_class(f"{class_name!r} of {dataset.name}", query, rest, counts, validation_from)
        # One order for all: labeled from its front, unlabeled validation from its back, so that
        # neither moves when the number of the other changes.
        order = stream_rng(seed, "split/labeled", label).permutation(rest)
        first_unlabeled = labeled_per_class or len(order)
        last_unlabeled = len(order) - held_from_unlabeled
        queries.append(query)
        drawn.append(order[:first_unlabeled])
        trained.append(order[held_from_labeled:first_unlabeled])
        validation += [order[:held_from_labeled], order[last_unlabeled:]]
        unlabeled.append(order[first_unlabeled:last_unlabeled])

    query, all_labeled = np.concatenate(queries), np.concatenate(drawn)
    in_database = np.ones(len(dataset.labels), bool)
    in_database[query] = False
    if database == "unlabeled":
        in_database[all_labeled] = False
    if not in_database.any():
        raise UserError(
            f"The database of {dataset.name} would be empty with database={database!r} and"
            f" labeled_per_class={labeled_per_class}: label fewer, or use database='rest'."
        )
    return Split(
        protocol=f"{len(query)}/{len(all_labeled)}/{int(in_database.sum())}",
        dataset=dataset.name,
        version=dataset.version,
        seed=int(seed),
        query=query,
        labeled=np.concatenate(trained),
        unlabeled=np.concatenate(unlabeled),
        validation=np.concatenate(validation),
        database=np.flatnonzero(in_database),
    )


def _check_arguments(
    dataset: Dataset, seed: int, counts: dict[str, int], database: str, validation_from: str
) -> None:
    for name, value in {"seed": seed, **counts}.items():
        if value < 0:
            raise UserError(f"{name} is {value}: it must be 0 or more.")
    for name, choice, choices in (
        ("database", database, ("rest", "unlabeled")),
        ("validation_from", validation_from, ("unlabeled", "labeled")),
    ):
        if choice not in choices:
            raise UserError(f"{name} is {choice!r}: it must be one of {', '.join(choices)}.")
    if counts["queries_per_class"] == 0 and not dataset.is_test.any():
        raise UserError(
            f"queries_per_class is 0 (the official test items), but {dataset.name} has no official"
            " test items: ask for 1 or more."
        )
    labeled, held = counts["labeled_per_class"], counts["validation_per_class"]
    if held and validation_from == "unlabeled" and labeled == 0:
        raise UserError(
            f"validation_per_class is {held} from the unlabeled images, but labeled_per_class=0"
            " labels them all: use validation_from='labeled', or give labeled_per_class."
        )
    if held and validation_from == "labeled" and 0 < labeled <= held:
        raise UserError(
            f"validation_per_class is {held} out of labeled_per_class={labeled}, which leaves no"
            " labeled image to train on: lower validation_per_class."
        )


def _check_class(
    class_name: str,
    query: np.ndarray,
    rest: np.ndarray,
    counts: dict[str, int],
    validation_from: str,
) -> None:
    """Refuses counts that a class, `rest` of it beside its queries, cannot serve."""
    labeled, held = counts["labeled_per_class"], counts["validation_per_class"]
    # Every class needs one labeled image to train on; `_check_arguments` saw to the rest.
    needed = labeled or held + 1
    if labeled and validation_from == "unlabeled":
        needed += held
    if len(rest) < needed:
        asked = ", ".join(f"{name}={value}" for name, value in counts.items())
        has = f"{len(query) + len(rest)} images"
        if counts["queries_per_class"] == 0:
            has += f", {len(query)} of them test items"
        raise UserError(
            f"Class {class_name} has {has}, too few for {asked} (and one labeled image at least):"
            f" lower {max(counts, key=lambda name: counts[name])}."
        )


def save(split: Split, path: str | os.PathLike[str]) -> None:
    """Writes a split as JSON, with its checksum; the file appears whole or not at all.

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
        raise UserError(f"Split file {path} is not whole JSON: draw the split again.") from error
    try:
        expected = content.pop("checksum")
        split = Split(**content)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"File {path} holds no split: draw the split again.") from error
    if split.checksum != expected:
        raise UserError(f"Split file {path} was edited: draw the split again.")
    return split


def load_for(dataset: Dataset, path: str | os.PathLike[str]) -> Split:
    """Reads a split that `save` wrote, to divide this data set.

    Raises:
      UserError: as for `load`; or it is of another data set or version, or has ids beyond the data.
    """
    split = load(path)
    if (split.dataset, split.version) != (dataset.name, dataset.version):
        raise UserError(
            f"Split file {path} divides {split.dataset} {split.version}, but the data is"
            f" {dataset.name} {dataset.version}: choose the split file of this data."
        )
    ids = np.concatenate([getattr(split, field) for field in ID_FIELDS])
    if ids.min(initial=0) < 0 or ids.max(initial=0) >= len(dataset.labels):
        raise UserError(
            f"Split file {path} has ids beyond the {len(dataset.labels)} items of {dataset.name}:"
            " draw the split again."
        )
    return split
