"""The table and the plot of a sweep."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from tools import cells
from tools.cells import Content
from tools.grid import Setting
from tools.intervals import mean_and_deviation
from tools.tables import table

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
                cells.score([content["map"] for content in done], count=False),
                cells.query_error(done),
                cells.score([content["precision_at_100"] for content in done], count=False),
            ]
        number += cells.splits([content["split_checksum"] for content in done]) if done else ""
        lines.append([cell.settings, cell.codes, cell.num_bits, *scores, number])
    return table(HEADER, lines)


def plot(found: Sequence[Cell]) -> Figure:
    """mAP over the number of bits, with the standard deviation over the draws."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    of_line: dict[str, list[Cell]] = {}
    for cell in found:
        if cell.contents:
            name = cell.codes if cell.settings == cells.GAP else f"{cell.codes}, {cell.settings}"
            of_line.setdefault(name, []).append(cell)
    for name, line in of_line.items():
        line.sort(key=lambda cell: cell.num_bits)
        scores = [mean_and_deviation([c["map"] for c in cell.contents]) for cell in line]
        axes.errorbar(
            [cell.num_bits for cell in line], [mean for mean, _ in scores],
            yerr=[deviation or 0 for _, deviation in scores], marker=".", capsize=3, label=name,
        )  # fmt: skip
    bits = sorted({cell.num_bits for cell in found})
    axes.set(xscale="log", xlabel="bits", ylabel="mAP")
    axes.set_xticks(bits, [str(number) for number in bits])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center")
    return figure
