"""How figures are laid out and written."""

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dsh_jax.files import replacing
from dsh_jax.report.names import FORMATS

RIGHT, WRONG = "#2a9d4a", "#d1343a"


def one_panel(x: str, y: str, title: str) -> tuple[Figure, Axes]:
    """A figure of one panel with these labels."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y, title=title)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def drawn(figure: Figure, image_format: str) -> bytes:
    """A figure in one of `names.FORMATS`; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    dates = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    figure.savefig(buffer, format=image_format, dpi=100, metadata=dates[image_format])
    return buffer.getvalue()


def save(folder: Path, name: str, content: bytes, image_format: str) -> None:
    """Writes a picture as `NAME.FORMAT`, in place of earlier ones of other formats."""
    with replacing(folder / f"{name}.{image_format}") as beside:
        beside.write_bytes(content)
    for other in FORMATS:
        if other != image_format:
            (folder / f"{name}.{other}").unlink(missing_ok=True)
