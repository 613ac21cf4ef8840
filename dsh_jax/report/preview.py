"""Preview of a data set: images per class, what was left out, and thumbnails."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from dsh_jax.data.documents.collections import Documents
from dsh_jax.data.documents.dataset import TextDataset, snippet
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
    problems: Sequence[str] = (),
    items: str = "images",
) -> str:
    """Writes `preview.txt` and `preview.png`, each completely or not at all.

    Args:
      folder: where to write them.
      images: uint8 `[n, height, width, 1 or 3]`, an array or `CachedImages`; None where there are
        none, and no `preview.png` then.
      labels: int32 `[n]`, class ids, -1 for none; or uint8 `[n, classes]`, multi-hot.
      class_names: of the classes.
      parts: name -> ids, each counted in a column of its own: labeled images, unlabeled ones, ...
      notes: what else the user should know, a line each.
      skipped: what was left out, as "name: reason"; `preview.txt` lists all of it.
      columns: most thumbnails per class.
      problems: why training could not start; `preview.txt` lists them.
      items: what they are.

    Returns:
      The text, with the first ten of `skipped`.
    """
    has = _has(labels, len(class_names))
    rows = dict(zip([*class_names, _NO_LABEL], has.T, strict=True))
    if not rows[_NO_LABEL].any():
        del rows[_NO_LABEL]
    shown = dict(list(rows.items())[:_MOST_CLASSES])
    table = count_table(rows, {"all": np.arange(len(labels)), **parts}, items)
    if images is not None and len(shown) < len(rows):
        table += f"\n\nThumbnails are of the first {len(shown)} classes."
    if notes:
        table += "\n\n" + "\n".join(notes)
    _write(folder, f"{table}\n\n{_left_out(skipped, len(skipped))}", problems)
    if images is not None:
        with replacing(folder / "preview.png") as beside:
            _thumbnails(images, shown, columns).save(beside, format="PNG")
    return printable(f"{table}\n\n{_left_out(skipped, 10)}")


def write_document_preview(
    folder: Path,
    documents: Documents,
    words: TextDataset | None,
    parts: Mapping[str, np.ndarray],
    *,
    problems: Sequence[str] = (),
) -> str:
    """Writes `preview.txt`: documents per tag and part, their words, and the first of them.

    Args:
      folder: where to write it.
      documents: the documents.
      words: the same with their words counted; None if there is no vocabulary yet.
      parts, problems: as for `write_preview`.

    Returns:
      The text, without the problems.
    """
    has = _has(documents.labels, len(documents.class_names))
    rows = dict(zip([*documents.class_names, "(no tag)"], has.T, strict=True))
    if not rows["(no tag)"].any():
        del rows["(no tag)"]
    table = count_table(rows, {"all": np.arange(len(documents)), **parts}, "documents")
    lines = [table, ""]
    if words is not None:
        lines += words.remarks()
        often = np.argsort(-np.asarray((words.counts > 0).sum(axis=0)).ravel(), kind="stable")
        names = [words.vocabulary.words[column] for column in often[:30]]
        lines += [f"in the most documents: {', '.join(names)}", ""]
    lines.append("The first documents:")
    for name, text, of_one in list(zip(documents.names, documents.texts, has, strict=True))[:5]:
        tags = [documents.class_names[column] for column in np.flatnonzero(of_one[:-1])]
        lines.append(f"  {name} [{', '.join(tags)}] {snippet(text, 60)}")
    return _write(folder, "\n".join(lines), problems)


def write_problems(folder: Path, problems: Sequence[str]) -> None:
    """Writes `preview.txt` where there are no items to show."""
    _write(folder, "Nothing can be shown.", problems)


def _write(folder: Path, text: str, problems: Sequence[str]) -> str:
    """Writes `preview.txt`, and returns the text without the problems."""
    why = "\n".join(["\n\nTraining could not start:", *(f"  {line}" for line in problems)])
    with replacing(folder / "preview.txt") as beside:
        beside.write_text(f"{printable(text + why * bool(problems))}\n", encoding="utf-8")
    return printable(text)


def count_table(
    rows: Mapping[str, np.ndarray], parts: Mapping[str, np.ndarray], items: str = "images"
) -> str:
    """One line per class with its number of items in each part, and a last line of totals.

    Args:
      rows: class name -> which items are in the class, bool `[n]`.
      parts: name -> ids.
      items: what they are, the last line's name.
    """
    lines = [["class", *parts]]
    for name, is_in in rows.items():
        counts = [f"{int(is_in[ids].sum()):,}" for ids in parts.values()]
        lines.append([short(name, _LONGEST), *counts])
    lines.append([items, *(f"{len(ids):,}" for ids in parts.values())])
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
