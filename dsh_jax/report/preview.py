"""Preview of a data set: images per class, what was left out, and thumbnails."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from dsh_jax.files import replacing
from dsh_jax.report.names import printable, short

_SIDE, _GAP, _NAME = 64, 4, 160  # pixels: thumbnail, gap, class name
_LONGEST = 60  # characters of a class name in the table
_MOST_CLASSES = 100  # with thumbnails
_NO_LABEL = "(no label)"


def write_preview(
    folder: Path,
    *,
    images: Any,
    labels: np.ndarray,
    class_names: Sequence[str],
    parts: Mapping[str, np.ndarray],
    notes: Sequence[str] = (),
    skipped: Sequence[str] = (),
    columns: int = 10,
) -> str:
    """Writes `preview.txt` and `preview.png`, each completely or not at all.

    Args:
      folder: where to write them.
      images: uint8 `[n, height, width, 1 or 3]`, an array or `CachedImages`.
      labels: int32 `[n]`, class ids, -1 for none; or uint8 `[n, classes]`, multi-hot.
      class_names: of the classes.
      parts: name -> ids, each counted in a column of its own: labeled images, unlabeled ones, ...
      notes: what else the user should know, a line each.
      skipped: what was left out, as "name: reason"; `preview.txt` lists all of it.
      columns: most thumbnails per class.

    Returns:
      The text, with the first ten of `skipped`.
    """
    has = _has(labels, len(class_names))
    rows = dict(zip([*class_names, _NO_LABEL], has.T, strict=True))
    if not rows[_NO_LABEL].any():
        del rows[_NO_LABEL]
    shown = dict(list(rows.items())[:_MOST_CLASSES])
    table = count_table(rows, {"all": np.arange(len(labels)), **parts})
    if len(shown) < len(rows):
        table += f"\n\nThumbnails are of the first {len(shown)} classes."
    if notes:
        table += "\n\n" + "\n".join(notes)
    with replacing(folder / "preview.txt") as beside:
        text = f"{table}\n\n{_left_out(skipped, len(skipped))}\n"
        beside.write_text(printable(text), encoding="utf-8")
    with replacing(folder / "preview.png") as beside:
        _thumbnails(images, shown, columns).save(beside, format="PNG")
    return printable(f"{table}\n\n{_left_out(skipped, 10)}")


def count_table(rows: Mapping[str, np.ndarray], parts: Mapping[str, np.ndarray]) -> str:
    """One line per class with its number of images in each part, and a last line of totals.

    Args:
      rows: class name -> which images are in the class, bool `[n]`.
      parts: name -> ids.
    """
    lines = [["class", *parts]]
    for name, is_in in rows.items():
        counts = [f"{int(is_in[ids].sum()):,}" for ids in parts.values()]
        lines.append([short(name, _LONGEST), *counts])
    lines.append(["images", *(f"{len(ids):,}" for ids in parts.values())])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    )


def _has(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Bool `[n, classes + 1]`: which images are in which class; the last column is for no class."""
    if labels.ndim == 1:
        labels = np.arange(num_classes) == labels[:, None]
    return np.column_stack([labels.astype(bool), ~labels.any(axis=1)])


def _left_out(skipped: Sequence[str], most: int) -> str:
    if not skipped:
        return "Nothing was left out."
    lines = [f"Left out: {len(skipped):,}", *(f"  {line}" for line in skipped[:most])]
    if len(skipped) > most:
        lines.append(f"  and {len(skipped) - most:,} more, in preview.txt")
    return "\n".join(lines)


def _thumbnails(images: Any, rows: Mapping[str, np.ndarray], columns: int) -> Image.Image:
    """One row of thumbnails per class, spread evenly over its images."""
    step = _SIDE + _GAP
    sheet = Image.new("RGB", (_NAME + columns * step + _GAP, len(rows) * step + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (name, is_in) in enumerate(rows.items()):
        top = _GAP + row * step
        draw.text((_GAP, top + _SIDE // 2), short(name, 24), fill="black", anchor="lm")
        ids = np.flatnonzero(is_in)
        chosen = ids[np.unique(np.linspace(0, len(ids) - 1, min(columns, len(ids))).astype(int))]
        for column, pixels in enumerate(images[chosen]):
            thumbnail = Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
            sheet.paste(_scaled(thumbnail), (_NAME + column * step, top))
    return sheet


def _scaled(image: Image.Image) -> Image.Image:
    """A thumbnail; images smaller than it are enlarged without smoothing, so that pixels show."""
    sharp = max(image.size) < _SIDE
    how = Image.Resampling.NEAREST if sharp else Image.Resampling.LANCZOS
    return image.resize((_SIDE, _SIDE), how)
