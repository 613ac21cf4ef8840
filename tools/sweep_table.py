"""The table and the plot of a sweep."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from dsh_jax.report.curves import map_over_bits
from dsh_jax.report.markdown import table
from dsh_jax.report.spread import score, splits
from tools import cells
from tools.cells import Content
from tools.grid import Setting

HEADER = ("setting", "codes", "bits", "labels (+ validation)", "mAP", "s.e. over queries",
          "precision@100", "n")  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """The draws of one setting, kind of codes and code length.

    Attributes:
      setting: fields and values.
      baseline: its name, or empty for the trained codes.
      num_bits: code length.
      asked: how many draws there should be.
      contents: of the results that there are.
    """

    setting: Setting
    baseline: str
    num_bits: int
    asked: int
    contents: Sequence[Content]

    @property
    def settings(self) -> str:
        """The setting in words."""
        return ", ".join(f"{field}={value}" for field, value in self.setting) or cells.GAP

    @property
    def codes(self) -> str:
        """Whose codes these are."""
        return self.baseline or "trained"


def render(found: Sequence[Cell]) -> str:
    """A Markdown table with a row for each cell; a gap where no draw was measured."""
    lines = []
    for cell in found:
        done, count = cell.contents, len(cell.contents)
        number = str(count) if count == cell.asked else f"{count} of {cell.asked}"
        scores: list[str] = [cells.GAP] * 4
        if done:
            scores = [
                cells.labels(done[0]),
                score([content["map"] for content in done], count=False),
                cells.query_error(done),
                score([content["precision_at_100"] for content in done], count=False),
            ]
        number += splits([content["split_checksum"] for content in done]) if done else ""
        lines.append([cell.settings, cell.codes, cell.num_bits, *scores, number])
    return table(HEADER, lines)


def plot(found: Sequence[Cell]) -> Figure:
    """mAP over the number of bits, with the standard deviation over the draws."""
    lines: dict[str, dict[int, list[float]]] = {}
    for cell in found:
        if cell.contents:
            name = cell.codes if cell.settings == cells.GAP else f"{cell.codes}, {cell.settings}"
            scores = [content["map"] for content in cell.contents]
            lines.setdefault(name, {})[cell.num_bits] = scores
    return map_over_bits(lines)
