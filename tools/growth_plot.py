"""Draws docs/growth.png from what `benchmarks.growth` measured: `python -m tools.growth_plot`."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dsh_jax.errors import UserError
from dsh_jax.files import replacing
from dsh_jax.report.drawing import drawn
from tools import tables

COLUMNS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the picture, if there is anything to draw; returns the exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--root", type=Path, default=Path("."), help="the checkout")
    root = parser.parse_args(arguments).root
    paths = [root / f"results/speed/growth_{part}.json" for part in ("steps", "evaluation")]
    series: dict[str, Any] = {}
    try:
        for path in filter(Path.exists, paths):
            again = f"run python -m benchmarks.growth --result {path} again"
            content = tables.read_json(path, again)
            if not isinstance(content.get("series"), dict):
                raise UserError(f"{path} has no series; {again}.")
            series |= content["series"]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if series:
        with replacing(root / "docs/growth.png") as beside:
            beside.write_bytes(drawn(draw(series), "png"))
    return 0


def draw(series: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """A panel for each series: processor time relative to the first point, and memory if known."""
    lines = -(-len(series) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 3.2 * lines), layout="constrained")
    panels = figure.subplots(lines, COLUMNS, squeeze=False).ravel()
    for axes, (name, points) in zip(panels, series.items(), strict=False):
        at = [point["at"] for point in points]
        seconds = [point["seconds"] / points[0]["seconds"] for point in points]
        what, _, number = name.partition(", ")
        axes.loglog(at, seconds, "o-", label="processor time")
        axes.loglog(at, [x / at[0] for x in at], ":", color="grey", label="in proportion")
        axes.set(xlabel=number, ylabel="times the first", title=what)
        axes.set_xticks(at, [f"{x:,}" for x in at], minor=False)
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
        if "bytes" in points[0]:
            right = axes.twinx()
            right.plot(at, [p["bytes"] / 2**20 for p in points], "s--", color="tab:orange")
            right.set(ylabel="peak memory added, MiB", ylim=(0, 1024))
            right.spines[["top"]].set_visible(False)
        axes.legend(frameon=False)
    for axes in panels[len(series) :]:
        axes.set_axis_off()
    return figure


if __name__ == "__main__":
    sys.exit(main())
