"""NUS-WIDE, read from its own files or from published lists of its images.

Chua et al., "NUS-WIDE: A Real-World Web Image Database from National University of Singapore"
(2009): 269,648 photographs from Flickr, each with some of 81 concepts. Hashing is measured on the
195,834 images that have at least one of the 21 most frequent concepts.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dsh_jax.data.images.listing import Listing
from dsh_jax.data.labels import as_labels, multi_hot
from dsh_jax.data.reading import read_bytes
from dsh_jax.errors import UserError

_IMAGES, _LABELS = "ImageList/Imagelist.txt", "Groundtruth/AllLabels"
_ROLES = {"database": "database.txt", "labeled": "train.txt", "query": "test.txt"}


def list_nus_wide(folder: Path, *, images: Path | None = None, num_concepts: int = 21) -> Listing:
    """Lists the existing images that have at least one of the most frequent concepts.

    Reads the collection's own files if `folder` has them: `ImageList/Imagelist.txt`, one file
    `Labels_<concept>.txt` per concept in `Groundtruth/AllLabels`, and the images in `Flickr`.
    Concepts are ranked by their counts in those files, ties by name.

    Otherwise reads the lists published with hashing code: `database.txt`, `train.txt` and
    `test.txt`, with one line `path 0 1 0 ...` per image. They also assign the roles "database",
    "labeled" and "query". They do not name the concepts, which are called "0", "1", ...

    Args:
      folder: the folder with those files.
      images: the folder with the images; None means `Flickr` in `folder`, or `folder` itself for
        the lists. A listed path that is not in it is looked up by its file name alone.
      num_concepts: how many of the collection's own concepts to keep; the lists keep all of theirs.

    Raises:
      UserError: a file is missing or damaged, two files disagree, or no image is left.
    """
    folder = folder.expanduser()
    if (folder / _IMAGES).is_file():
        return _list_collection(folder, images or folder / "Flickr", num_concepts)
    missing = [name for name in _ROLES.values() if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{folder} has neither {_IMAGES} nor {' and '.join(missing)}: set data.root to the"
            " folder of NUS-WIDE, or to that of the lists database.txt, train.txt and test.txt."
        )
    return _list_roles(folder, images or folder)


def _list_collection(folder: Path, images: Path, num_concepts: int) -> Listing:
    lines = [name.replace("\\", "/") for name in _lines(folder / _IMAGES)]
    concepts = {
        path.stem.removeprefix("Labels_"): _read_concept(path, len(lines), folder / _IMAGES)
        for path in (folder / _LABELS).glob("Labels_*.txt")
    }
    if len(concepts) < num_concepts:
        raise UserError(
            f"{folder / _LABELS} has Labels_*.txt files of {len(concepts)} concepts, fewer than"
            f" {num_concepts}: unpack Groundtruth.zip there."
        )
    by_count = sorted(concepts, key=lambda name: (-int(concepts[name].sum()), name))
    class_names = sorted(by_count[:num_concepts])
    labels = np.stack([concepts[name] for name in class_names], axis=1)
    skipped, kept = [], {}
    without = 0
    for row, name in enumerate(lines):
        if not labels[row].any():
            without += 1
        elif name in kept:
            skipped.append(f"{name}: line {row + 1} of {_IMAGES} repeats it")
        elif not os.path.isfile(images / name):
            skipped.append(f"{name}: line {row + 1} of {_IMAGES} names it, but it is missing")
        else:
            kept[name] = row
    if without:
        skipped.append(f"{without} images: they have none of the {num_concepts} concepts")
    _check_some_left(kept, folder / _IMAGES, images)
    return Listing(
        source=folder,
        names=tuple(kept),
        paths=tuple(images / name for name in kept),
        labels=labels[list(kept.values())],
        is_test=np.zeros(len(kept), bool),
        class_names=tuple(class_names),
        skipped=tuple(skipped),
    )


def _read_concept(path: Path, num_images: int, image_list: Path) -> np.ndarray:
    """Which images have a concept, uint8 `[n]`."""
    marks = _read(path).split()
    wrong = set(marks) - {b"0", b"1"}
    if wrong:
        number = min(marks.index(mark) for mark in wrong)
        raise UserError(
            f"Label {number + 1} of {path} is {marks[number].decode('latin-1')!r}, not 0 or 1:"
            " unpack Groundtruth.zip again."
        )
    if len(marks) != num_images:
        raise UserError(
            f"{path} has {len(marks)} labels, but {image_list} has {num_images} images: use"
            " files of the same edition of NUS-WIDE."
        )
    return np.array(marks, "S1").view(np.uint8) - ord("0")


def _list_roles(folder: Path, images: Path) -> Listing:
    found: dict[str, tuple[str, Path]] = {}  # path -> its marks, and the first list with it
    roles: dict[str, set[str]] = {role: set() for role in _ROLES}
    skipped: list[str] = []
    width = 0
    for role, file in _ROLES.items():
        for number, (name, marks) in enumerate(_marked_lines(folder / file), start=1):
            width = width or len(marks)
            if len(marks) != width:
                raise UserError(
                    f"Line {number} of {folder / file} has {len(marks)} labels, but the first line"
                    f" of {_ROLES['database']} has {width}: give each image one label per concept."
                )
            first_marks, first = found.setdefault(name, (marks, folder / file))
            if marks != first_marks:
                raise UserError(
                    f"Line {number} of {folder / file} labels {name} differently from"
                    f" {first}: correct one of them."
                )
            if role == "query" and first != folder / file:
                raise UserError(
                    f"Line {number} of {folder / file} names {name}, which is also in {first}, so"
                    " the query would find itself: remove it from one of them."
                )
            if name in roles[role]:
                skipped.append(f"{name}: line {number} of {file} repeats it")
            roles[role].add(name)
    kept: dict[str, Path] = {}
    names_of: dict[Path, str] = {}
    for name in found:
        path = _find(name, images)
        if path is None:
            skipped.append(f"{name}: it is missing")
        elif names_of.setdefault(path, name) != name:
            raise UserError(
                f"{names_of[path]} and {name} in the lists of {folder} both lead to {path}: set"
                " data.image_root to the folder that their paths are relative to."
            )
        else:
            kept[name] = path
    _check_some_left(kept, folder / _ROLES["database"], images)
    concepts = [str(number) for number in range(width)]
    marked = [[concepts[at] for at, mark in enumerate(found[name][0]) if mark == "1"]
              for name in kept]  # fmt: skip
    # An image with no concept may be in any list, so "none" must stay a label like the others.
    to_labels = as_labels if all(marked) else multi_hot
    masks = {role: np.array([name in group for name in kept]) for role, group in roles.items()}
    return Listing(
        source=folder,
        names=tuple(kept),
        paths=tuple(kept.values()),
        labels=to_labels(marked, concepts),
        is_test=masks["query"],
        class_names=tuple(concepts),
        skipped=tuple(skipped),
        roles=masks,
    )


def _marked_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yields the path and the marks, such as "010", of each line of a list."""
    for number, line in enumerate(_lines(path), start=1):
        found = re.fullmatch(r"(\S.*?)((?:\s+[01])+)", line)
        if not found:
            raise UserError(
                f"Line {number} of {path} is not a path followed by labels 0 or 1: write it like"
                " images/1.jpg 0 1 0."
            )
        yield found[1].replace("\\", "/"), "".join(found[2].split())


def _lines(path: Path) -> list[str]:
    """A file's lines, stripped; reads Windows and Unix line ends."""
    lines = [line.strip() for line in os.fsdecode(_read(path)).rstrip().split("\n")]
    if "" in lines:
        raise UserError(f"Line {lines.index('') + 1} of {path} is empty: remove it.")
    return lines


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror or error}): unpack NUS-WIDE's lists again."
        ) from error


def _find(name: str, images: Path) -> Path | None:
    """The file of a listed image; published lists hold their authors' absolute paths."""
    places = [images / name, images / name.rsplit("/", 1)[-1]]
    return next((place for place in places if os.path.isfile(place)), None)


def _check_some_left(kept: object, source: Path, images: Path) -> None:
    if not kept:
        raise UserError(
            f"No image that {source} names is in {images}: set data.image_root to the folder"
            " that its paths are relative to."
        )
