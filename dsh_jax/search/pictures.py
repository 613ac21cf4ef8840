"""A picture of a query and what was found, for `search.py query --show`."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from dsh_jax.data.images.decoding import read_image
from dsh_jax.files import replacing

_SIDE, _CAPTION, _MARGIN, _COLUMNS = 128, 28, 6, 6
_Tile = tuple[str, str]  # path, caption


def show(path: Path, queries: Sequence[_Tile], hits: Sequence[_Tile]) -> None:
    """Writes a PNG: queries in the first row, then hits, six a row.

    Args:
      path: of the PNG.
      queries, hits: path of an image, and its caption; what cannot be read is a grey tile.

    Raises:
      OSError: it cannot be written.
    """
    tiles = [hits[first : first + _COLUMNS] for first in range(0, len(hits), _COLUMNS)]
    rows = [row for row in (queries[:_COLUMNS], *tiles) if row]
    width, height = _SIDE + _MARGIN, _SIDE + _CAPTION + _MARGIN
    columns = max(map(len, rows), default=1)
    grid = Image.new("RGB", (columns * width + _MARGIN, len(rows) * height + _MARGIN), "white")
    draw = ImageDraw.Draw(grid)
    for y, row in enumerate(rows):
        for x, (name, caption) in enumerate(row):
            corner = (_MARGIN + x * width, _MARGIN + y * height)
            grid.paste(_tile(name), corner)
            for number, line in enumerate(caption.split("\n")[:2]):
                place = (corner[0], corner[1] + _SIDE + 1 + 13 * number)
                draw.text(place, _cut(draw, line), fill="black")
            if queries and not y:
                box = [corner, (corner[0] + _SIDE - 1, corner[1] + _SIDE - 1)]
                draw.rectangle(box, outline="black", width=2)
    with replacing(path) as beside:
        grid.save(beside, format="PNG")


def _tile(name: str) -> Image.Image:
    found = read_image(Path(name), (_SIDE, _SIDE)) if name else "it has no file"
    return Image.new("RGB", (_SIDE, _SIDE), "lightgrey") if isinstance(found, str) else found


def _cut(draw: ImageDraw.ImageDraw, line: str) -> str:
    """The end of a line, as much of it as fits below a tile."""
    while line and draw.textlength(line) > _SIDE:
        line = line[1:]
    return line
