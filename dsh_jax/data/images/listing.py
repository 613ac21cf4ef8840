"""Lists a user's own images: a folder of classes, or a CSV or JSONL file of labels.

Nothing is left out silently: `Listing.skipped` names what is not listed, with the reason.
"""

import os
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dsh_jax.data.images.decoding import FORMATS
from dsh_jax.data.images.label_files import Row, read_rows
from dsh_jax.data.images.layout import UNLABELED, find_layout
from dsh_jax.data.labels import as_labels
from dsh_jax.data.lines import Mistakes
from dsh_jax.errors import UserError

ENDINGS = frozenset(ending for endings in FORMATS.values() for ending in endings)


@dataclass(frozen=True, eq=False, kw_only=True)
class Listing:
    """Images that exist as files and are not yet read.

    Attributes:
      source: the folder or file that was listed.
      names: of the images `[n]`, as written in `source`.
      paths: of the images `[n]`.
      labels: int32 `[n]`, class ids, -1 for an image without a label, if no image has several; else
        uint8 `[n, classes]`, multi-hot, all zeros for an image without labels.
      is_test: bool `[n]`, True for official test images.
      class_names: of the classes, sorted.
      skipped: what was left out, each as "name: reason".
      roles: name -> bool `[n]`, if `source` also assigns roles to the images.
      notes: what the user should know, a line each.
    """

    source: Path
    names: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: np.ndarray
    is_test: np.ndarray
    class_names: tuple[str, ...]
    skipped: tuple[str, ...]
    roles: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)


def list_images(source: Path, root: Path | None = None) -> Listing:
    """Lists a folder of classes, or the images that a file of labels names.

    Each sub-folder is a class and holds its images at any depth; a sub-folder named "unlabeled"
    holds images without a label. A folder may also be divided into train/CLASS, test/CLASS and
    val/CLASS (see `layout`). Links to folders are followed; no folder is listed twice.
    A CSV file starts with the header `path,labels` or `path,labels,test`, in any order, and has
    commas, semicolons or tabs between the columns; labels are separated by `;`, and `test` is 1 for
    an official test image. A JSONL file has one object per line, such as
    {"path": "a/1.jpg", "labels": ["x", "y"], "test": false}. Images may have no labels.

    Args:
      source: the folder, or a file that ends in .csv or .jsonl.
      root: the folder that the paths in such a file are relative to; None means the file's own.

    Raises:
      UserError: there is no such folder or file, lines or a class in it are invalid, or no image is
        left.
    """
    source = source.expanduser()
    if source.is_dir():
        return _list_folder(source)
    if source.suffix.lower() not in (".csv", ".jsonl") or not source.is_file():
        raise UserError(
            f"{source} is neither a folder nor a .csv or .jsonl file: set data.root to a folder"
            " with one sub-folder of images per class, or to a file of labels."
        )
    rows, mistakes = read_rows(source)
    return _list_rows(source, (root or source.parent).expanduser(), rows, mistakes)


def _list_folder(root: Path) -> Listing:
    files, folders, skipped = _walk(root)
    layout = find_layout(root, folders)
    names = [name for name in files if layout.class_of(name)]
    skipped += [
        f"{name}: it is not in a class folder" for name in files if not layout.class_of(name)
    ]
    folder_of = [layout.class_of(name) for name in names]
    classes = sorted({layout.class_of(f"{name}/") for name in folders} - {""})
    _check_names(classes, root)
    class_names = [name for name in classes if name.casefold() not in UNLABELED]
    if not {*class_names} & {*folder_of}:
        raise UserError(
            f"{root} has no classes with images: put each class's images into a sub-folder named"
            " after it."
        )
    part_of = np.array([layout.part_of(name) for name in names])
    held = {"validation": part_of == layout.held_part} if layout.held_part else {}
    return Listing(
        source=root,
        names=tuple(names),
        paths=tuple(root / name for name in names),
        labels=as_labels(
            [[] if name.casefold() in UNLABELED else [name] for name in folder_of], class_names
        ),
        is_test=part_of == layout.query_part,
        class_names=tuple(class_names),
        skipped=tuple(sorted(skipped)),
        roles=held,
        notes=tuple(layout.notes()),
    )


def _walk(root: Path) -> tuple[list[str], list[str], list[str]]:
    """The images and the folders under a folder, sorted, as relative names; and what was skipped.

    Links to folders are visited after all real folders, and no folder is visited twice: the walk
    ends, and an image is listed at its real place rather than below a link.
    """
    files: list[str] = []
    folders: list[str] = []
    skipped: list[str] = []
    links: list[str] = []
    pending, seen = [""], set()
    while pending or links:
        name = pending.pop() if pending else links.pop(links.index(min(links)))
        real = (root / name).resolve()
        if name and (real in seen or root.resolve().is_relative_to(real)):
            skipped.append(f"{name}: it links to {real}, which is listed already or holds the link")
            continue
        seen.add(real)
        folders.append(name)
        try:
            entries = list(os.scandir(real))
        except OSError as error:
            skipped.append(f"{name or root}: {error.strerror}")
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            place = f"{name}/{entry.name}" if name else entry.name
            if os.path.isdir(entry.path):
                (links if entry.is_symlink() else pending).append(place)
            elif os.path.splitext(place)[1].lower() in ENDINGS and os.path.isfile(entry.path):
                files.append(place)
            else:
                skipped.append(f"{place}: it is not a file with an image extension")
    return sorted(files), sorted(folders), skipped


def _check_names(names: Iterable[str], source: Path) -> None:
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise UserError(
                f"Classes {other!r} and {name!r} of {source} differ only in case or in how their"
                " letters are composed: give them the same name, or distinct ones."
            )


def _list_rows(source: Path, root: Path, rows: Iterable[Row], mistakes: Mistakes) -> Listing:
    lines: dict[str, int] = {}  # normalised path -> the line that names it
    kept: list[tuple[str, set[str], bool]] = []
    skipped = []
    for number, name, labels, is_test in rows:
        place = os.path.normpath(root / name)
        if lines.setdefault(place, number) != number:
            mistakes.add(number, f"names {name!r}, as line {lines[place]} does")
        elif os.path.isfile(place):
            kept.append((name, {label.strip() for label in labels} - {""}, is_test))
        else:
            skipped.append(f"{name}: line {number} of {source.name} names it, but it is missing")
    mistakes.check()
    if not kept:
        raise UserError(
            f"{source} names {len(lines)} images, and none is in {root}: set data.image_root to the"
            " folder that their paths are relative to."
        )
    for name in _walk(root)[0]:
        if os.path.normpath(root / name) not in lines:
            skipped.append(f"{name}: {source.name} has no line for it")
    class_names = sorted({label for _, labels, _ in kept for label in labels})
    _check_names(class_names, source)
    if not class_names:
        raise UserError(f"No image of {source} has a label: label some of them.")
    names, of_items, is_tests = zip(*kept, strict=True)
    return Listing(
        source=source,
        names=names,
        paths=tuple(root / name for name in names),
        labels=as_labels(of_items, class_names),
        is_test=np.array(is_tests),
        class_names=tuple(class_names),
        skipped=tuple(skipped),
    )
