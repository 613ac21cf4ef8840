"""Writes scikit-learn's digits as a folder of PNG images, one sub-folder per class, to search in.

    python -m tools.digits_folder DIR
"""

import sys
from pathlib import Path

from PIL import Image

from dsh_jax.data.images import built_in


def write(folder: Path) -> None:
    """Writes DIGIT/NUMBER.png, 8 x 8 pixels each; images that are there already stay."""
    digits = built_in.load("digits")
    for number, (pixels, label) in enumerate(zip(digits.images, digits.labels, strict=True)):
        path = folder / str(label) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            Image.fromarray(pixels[..., 0]).save(path)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("error: name the folder to write, as in python -m tools.digits_folder runs/digits")
    write(Path(sys.argv[1]))
