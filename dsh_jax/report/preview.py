"""A dry run: how many images each class has, what was left out, and what the images look like."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from dsh_jax.files import replacing

_SIDE, _GAP, _NAME = 64, 4, 160  # pixels: of a thumbnail, around it, for a class' name
_AT_MOST = 100  # classes with thumbnails
_NO_LABEL = "(no label)"


def write_preview(
    folder: Path,
    *,
    images: Any,
    labels: np.ndarray,
    class_names: Sequence[str],
    parts: Mapping[str, np.ndarray],
    skipped: Sequence[str] = (),
    columns: int = 10,
) -> str:
    """Writes `preview.txt` and `preview.png`, whole or not at all.

    Args:
      folder: where to write them.
      images: uint8 `[n, height, width, 1 or 3]`, an array or `CachedImages`.
      labels: int32 `[n]`, class ids; or uint8 `[n, classes]`, multi-hot.
      class_names: of the classes.
      parts: ids by name, to count one by one: the labeled images, the unlabeled ones, ...
      skipped: what was left out, "name: reason" each; `preview.txt` has them all.
      columns: thumbnails a class, at most.

    Returns:
      The text, with the first ten of `skipped`.
    """
    has = _has(labels, len(class_names))
    rows = dict(zip([*class_names, _NO_LABEL], has.T, strict=True))
    if not rows[_NO_LABEL].any():
        del rows[_NO_LABEL]
    shown = dict(list(rows.items())[:_AT_MOST])
    table = count_table(rows, {"all": np.arange(len(labels)), **parts})
    if len(shown) < len(rows):
        table += f"\n\nThumbnails are of the first {len(shown)} classes."
    with replacing(folder / "preview.txt") as beside:
        text = f"{table}\n\n{_left_out(skipped, len(skipped))}\n"
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")
    with replacing(folder / "preview.png") as beside:
        _thumbnails(images, shown, columns).save(beside, format="PNG")
    return f"{table}\n\n{_left_out(skipped, 10)}"


def count_table(rows: Mapping[str, np.ndarray], parts: Mapping[str, np.ndarray]) -> str:
    """A line a class, with how many images of each part it has, and a line for the parts.

    Args:
      rows: which images are in a class, bool `[n]`, by the class' name.
      parts: ids by name.
    """
    lines = [["class", *parts]]
    for name, is_in in rows.items():
        lines.append([name, *(f"{int(is_in[ids].sum()):,}" for ids in parts.values())])
    lines.append(["images", *(f"{len(ids):,}" for ids in parts.values())])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    )


def _has(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Which images are in which class, and in the last column those in none."""
    if labels.ndim == 1:
        labels = np.arange(num_classes) == labels[:, None]
    return np.column_stack([labels.astype(bool), ~labels.any(axis=1)])


def _left_out(skipped: Sequence[str], at_most: int) -> str:
    if not skipped:
        return "Nothing was left out."
    lines = [f"Left out: {len(skipped):,}", *(f"  {line}" for line in skipped[:at_most])]
    if len(skipped) > at_most:
        lines.append(f"  and {len(skipped) - at_most:,} more, in preview.txt")
    return "\n".join(lines)


def _thumbnails(images: Any, rows: Mapping[str, np.ndarray], columns: int) -> Image.Image:
    """A row of thumbnails a class, taken from all along its images."""
    step = _SIDE + _GAP
    sheet = Image.new("RGB", (_NAME + columns * step + _GAP, len(rows) * step + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (name, is_in) in enumerate(rows.items()):
        top = _GAP + row * step
        draw.text((_GAP, top + _SIDE // 2), name[:24], fill="black", anchor="lm")
        ids = np.flatnonzero(is_in)
        chosen = ids[np.unique(np.linspace(0, len(ids) - 1, min(columns, len(ids))).astype(int))]
        for column, pixels in enumerate(images[chosen]):
            thumbnail = Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
            sheet.paste(_scaled(thumbnail), (_NAME + column * step, top))
    return sheet


def _scaled(image: Image.Image) -> Image.Image:
    """Few pixels are enlarged sharply, so that they are seen as they are."""
    sharp = max(image.size) < _SIDE
    how = Image.Resampling.NEAREST if sharp else Image.Resampling.LANCZOS
    return image.resize((_SIDE, _SIDE), how)
