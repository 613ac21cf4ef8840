"""Data of three new users, made on the spot: photos, lists of photos and documents, all dirty."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("circles", "squares", "stripes")
_COLORS = ("crimson", "seagreen", "royalblue", "goldenrod", "orchid")
WORDS = {
    "gardening": "soil seed leaf root flower prune compost blossom harvest tulip".split(),
    "astronomy": "star orbit comet galaxy telescope planet eclipse nebula moon crater".split(),
    "cooking": "oven flour simmer garlic butter roast recipe spice knead broth".split(),
}


def photo(shape: str, seed: int) -> Image.Image:
    """A picture of a shape, 48 x 48 to 72 x 60, whose place, size and colors are random."""
    rng = np.random.default_rng(seed)
    width, height = int(rng.integers(48, 73)), int(rng.integers(48, 61))
    image = Image.new("RGB", (width, height), tuple(int(x) for x in rng.integers(180, 256, 3)))
    draw, color = ImageDraw.Draw(image), _COLORS[rng.integers(len(_COLORS))]
    side, left, top = (int(x) for x in rng.integers((20, 4, 4), (32, 16, 16)))
    box = (left, top, left + side, top + side)
    if shape == "circles":
        draw.ellipse(box, fill=color)
    elif shape == "squares":
        draw.rectangle(box, fill=color)
    else:
        for start in range(left, width, 8):
            draw.rectangle((start, 0, start + 3, height), fill=color)
    return image


def photos(root: Path, *, labeled: int, unlabeled: int) -> None:
    """A folder of classes with some images of each, unlabeled ones, and everything that goes wrong.

    Among them: a class of two images, an empty class, an empty file, text with an image's name, a
    photo that is cut off, and a file that is no image at all.
    """
    for number, shape in enumerate(SHAPES):
        (root / shape).mkdir(parents=True)
        for row in range(labeled):
            photo(shape, 1000 * number + row).save(root / shape / f"{shape}_{row:03d}.jpg")
    (root / "unlabeled").mkdir()
    for row in range(unlabeled):
        shape = SHAPES[row % len(SHAPES)]
        photo(shape, 10_000 + row).save(root / "unlabeled" / f"new_{row:03d}.png")
    (root / "rare").mkdir()
    for row in range(2):
        photo("circles", 20_000 + row).save(root / "rare" / f"rare_{row}.png")
    (root / "empty").mkdir()
    circles = root / "circles"
    (circles / "nothing.jpg").write_bytes(b"")
    (circles / "text.jpg").write_text("this is not a picture")
    (circles / "cut.jpg").write_bytes((circles / "circles_000.jpg").read_bytes()[:300])
    (circles / "notes.txt").write_text("taken in May")


def list_with_mistakes(path: Path, root: Path) -> None:
    """A CSV file of photos with semicolons between the columns, each mistake on a line."""
    names = sorted(p.relative_to(root).as_posix() for p in root.glob("*/*_00?.jpg"))
    good = [f"{name};{name.split('/')[0]}" for name in names]
    bad = [";circles", f"{names[0]};circles;1;2", f"{names[1]};circles"]
    path.write_text("\n".join(["path;labels", *good, *bad]) + "\n", encoding="utf-8")


def document(number: int, *, tags: Sequence[str]) -> dict[str, object]:
    """A document of thirty words, most of them of its topic."""
    rng = np.random.default_rng(number)
    topics = list(WORDS)
    own = WORDS[topics[number % len(topics)]]
    other = WORDS[topics[int(rng.integers(len(topics)))]]
    words = [*rng.choice(own, 24), *rng.choice(other, 6)]
    return {"id": f"doc{number:03d}", "text": " ".join(map(str, words)), "tags": list(tags)}


def documents(path: Path, count: int) -> None:
    """A JSONL file of documents; every fifth has no tags."""
    topics = list(WORDS)
    rows = [
        document(number, tags=[] if number % 5 == 4 else [topics[number % len(topics)]])
        for number in range(count)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def documents_with_mistakes(path: Path) -> None:
    """A JSONL file with one good line and one of each mistake."""
    good = json.dumps(document(0, tags=["gardening"])).encode()
    bad = [
        b'{"id": "a", "text": "no end"',
        '{"id": "b", "text": "caf\u00e9"}'.encode("latin-1"),
        b'{"id": "c"}',
        b'{"id": "d", "text": "star", "tags": "astronomy"}',
        good,
    ]
    path.write_bytes(b"\n".join([good, *bad]) + b"\n")
