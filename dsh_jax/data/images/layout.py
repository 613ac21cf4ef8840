"""Recognises a folder that is already divided: `train/CLASS`, `test/CLASS` and `val/CLASS`."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from dsh_jax.errors import UserError

UNLABELED = ("unlabeled", "unlabelled")  # the sub-folder whose images have no label
_PARTS = {"train": ("train", "training"), "test": ("test", "testing"),
          "validation": ("val", "valid", "validation")}  # fmt: skip
_PART_OF = {name: part for part, names in _PARTS.items() for name in names}


@dataclass(frozen=True)
class Layout:
    """How a folder of images is divided.

    Attributes:
      folders: name of the folder -> "train", "test" or "validation"; empty if it is not divided.
    """

    folders: dict[str, str]

    @property
    def depth(self) -> int:
        """Folders above a class's folder, below the root."""
        return 1 if self.folders else 0

    @property
    def query_part(self) -> str:
        """The part whose images are the queries; empty where none is."""
        parts = self.folders.values()
        return "test" if "test" in parts else "validation" if "validation" in parts else ""

    @property
    def held_part(self) -> str:
        """The part whose images are held back from training; empty where none is."""
        return "validation" if {"test", "validation"} <= {*self.folders.values()} else ""

    def class_of(self, name: str) -> str:
        """The class folder of an image `a/b/1.jpg`; empty if it is in none."""
        parts = name.split("/")[:-1]
        if len(parts) > self.depth and (not self.folders or parts[0] in self.folders):
            return parts[self.depth]
        return parts[0] if parts and parts[0].casefold() in UNLABELED else ""

    def part_of(self, name: str) -> str:
        """The part of an image: "train", "test" or "validation"."""
        return self.folders.get(name.split("/")[0], "train")

    def notes(self) -> list[str]:
        """What it means, a line for the log."""
        if not self.folders:
            return []
        found = {part: name for name, part in self.folders.items()}
        says = [f"{found['train']} is for training and for the database"]
        says.append(f"{found[self.query_part]} holds the queries")
        if self.held_part:
            says.append(f"{found[self.held_part]} chooses the checkpoint")
        return [f"folders     {', '.join(says)}"]


def find_layout(root: Path, folders: Collection[str]) -> Layout:
    """Which of a root's folders are parts of the data, each with folders of classes.

    A folder is divided if all of its sub-folders, but for one of unlabeled images, are named as
    parts, and one is for training.

    Args:
      root: the folder, for errors.
      folders: all folders below it, as relative names.

    Raises:
      UserError: the sub-folders are named as parts, but one holds no folders of classes; or two
        are named as the same part.
    """
    top = [name for name in folders
           if name and "/" not in name and name.casefold() not in UNLABELED]  # fmt: skip
    parts = {name: _PART_OF.get(name.casefold(), "") for name in top}
    if len(parts) < 2 or not all(parts.values()) or "train" not in parts.values():
        return Layout({})
    for part in {*parts.values()}:
        same = [name for name in top if parts[name] == part]
        if len(same) > 1:
            raise UserError(
                f"{root} has the folders {same[0]} and {same[1]}, which are both for {part}: merge"
                " them, or rename one."
            )
    for name in sorted(top, key=lambda name: parts[name] != "train"):
        if not any(folder.startswith(f"{name}/") for folder in folders):
            fix = f"move {name} away to have its part drawn from the others"
            if parts[name] == "train":
                fix = "list all images and their labels in a CSV file"
            raise UserError(
                f"{root / name} has no folders of classes: sort its images into {name}/CLASS, or"
                f" {fix}."
            )
    return Layout(parts)
