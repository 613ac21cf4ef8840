"""Pictures of scores over code lengths, and of what training logged over its steps."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dsh_jax.report.drawing import one_panel
from dsh_jax.report.names import for_matplotlib
from dsh_jax.report.spread import mean_and_deviation

Series = dict[str, tuple[list[int], list[float]]]
"""Name of a metric -> steps and values."""

CLOCKS = {"seconds", "steps_per_second"}
"""Metrics that say how fast a training was."""

_NAME, _WIDTH = 320, 80  # characters of a line's name, and of a line of it
_COLUMNS = 4
_MOST = 60  # panels
_FEW = 30  # points of a line, which are then drawn


def map_over_bits(lines: Mapping[str, Mapping[int, Sequence[float]]]) -> Figure:
    """mAP over the number of bits, with the standard deviation over runs as error bars.

    Args:
      lines: name -> number of bits -> the mAP of each run.
    """
    figure, axes = one_panel("bits", "mAP", "")
    names = {name: "\n".join(wrap(for_matplotlib(name, _NAME), _WIDTH)) for name in lines}
    figure.set_figheight(4.0 + 0.22 * sum(1 + name.count("\n") for name in names.values()))
    for name, scores in lines.items():
        bits = sorted(scores)
        spread = [mean_and_deviation(scores[number]) for number in bits]
        axes.errorbar(
            bits, [mean for mean, _ in spread], yerr=[deviation or 0 for _, deviation in spread],
            marker=".", capsize=3, label=names[name],
        )  # fmt: skip
    ticks = sorted({number for scores in lines.values() for number in scores})
    axes.set(xscale="log", xlim=(ticks[0] / 1.2, ticks[-1] * 1.2))
    axes.set_xticks(ticks, [str(number) for number in ticks])
    axes.minorticks_off()
    figure.legend(loc="outside lower center")
    return figure


def read_metrics(path: Path) -> Series:
    """What a training logged, by the metric's name; lines and values that are no numbers are left
    out.

    Args:
      path: of `metrics.jsonl`.
    """
    series: Series = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # cut off, or written just now
            continue
        if not isinstance(row, dict) or not isinstance(step := row.pop("step", None), int):
            continue
        for name, value in row.items():
            if isinstance(value, int | float) and math.isfinite(value):
                steps, values = series.setdefault(name, ([], []))
                steps.append(step)
                values.append(value)
    return series


def training(series: Series, step: int) -> Figure:
    """Each metric over the steps in a panel of its own, validation first.

    Args:
      series: of `read_metrics`, with a metric that is no clock.
      step: of the checkpoint that was evaluated, which is marked.
    """
    names = [name for name in series if name not in CLOCKS]
    names.sort(key=lambda name: (name != "validation_map", "/" in name, name))
    names = names[:_MOST]
    last = max(1, *(max(series[name][0]) for name in names))
    rows = math.ceil(len(names) / _COLUMNS)
    figure = Figure(figsize=(2.7 * _COLUMNS, 1.9 * rows), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).flat
    for name, axes in zip(names, panels, strict=False):
        steps, values = series[name]
        axes.axvline(step, color="grey", linewidth=0.8, linestyle="--")
        axes.plot(steps, values, marker="." if len(steps) < _FEW else "", linewidth=1)
        axes.set_xlim(0, last)
        axes.set_title(for_matplotlib(name, _NAME), fontsize="small")
        axes.tick_params(labelsize="x-small")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    for axes in list(panels):  # those that are left
        axes.set_visible(False)
    return figure
