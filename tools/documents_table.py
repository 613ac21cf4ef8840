"""Results on documents by code length: a table for each collection, and one plot.

`results_table.py` reads them from `results/documents/`. A row is a method with its improvements, a
column is a number of bits.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dsh_jax.errors import UserError
from tools.tables import table

METHODS = {
    "shttm_neural": "neural SHTTM", "shttm_rotated": "SHTTM, rotated", "shttm": "SHTTM, published",
    "itq": "ITQ on tf-idf", "topics_itq": "ITQ on LDA topics", "lsh": "LSH on tf-idf",
    "topics": "LDA topics, thresholded",
}  # fmt: skip
COLLECTIONS = {"reuters21578": "Reuters-21578 (ModApte)", "20newsgroups": "20 Newsgroups"}
IMPROVEMENTS = ("nonlinear", "learned_uncertainty", "correlated_tags", "joint_topics")

Content = Mapping[str, Any]


def variant(content: Content) -> str:
    """Which improvements of neural SHTTM were on, in words; empty for other methods."""
    if content["codes"] != "shttm_neural":
        return ""
    off = {
        name
        for text in content["run"]["overrides"]
        for name in IMPROVEMENTS
        if text == f"--config.improvements.{name}=False"
    }
    on = [name.replace("_", " ") for name in IMPROVEMENTS if name not in off]
    if len(on) == len(IMPROVEMENTS):
        return "all improvements"
    return " and ".join(on) + " alone" if on else "no improvement"


def row_name(content: Content) -> str:
    """The name of a result's row."""
    name = METHODS[content["codes"]]
    return f"{name}: {variant(content)}" if variant(content) else name


def check(contents: Sequence[Content]) -> None:
    """Refuses results that must not be in one table.

    Raises:
      UserError: results on one collection have different splits or rules, or two are the same.
    """
    for (dataset,), group in _grouped(contents, "dataset"):
        rows = list(group)
        for field in ("split_checksum", "rules", "protocol"):
            if any(row[field] != rows[0][field] for row in rows):
                raise UserError(
                    f"the results on {dataset} in results/documents differ in their {field}, so "
                    "they cannot be compared; evaluate them on one split and with one version."
                )
        seen = [(row_name(row), row["num_bits"]) for row in rows]
        for name in seen:
            if seen.count(name) > 1:
                raise UserError(f"{dataset} has two results of {name[0]} at {name[1]} bits.")


def render(contents: Sequence[Content]) -> str:
    """A Markdown table for each collection: precision@100, and mAP in brackets."""
    parts = []
    for (dataset,), group in _grouped(contents, "dataset"):
        rows = list(group)
        bits = sorted({row["num_bits"] for row in rows})
        protocol = rows[0]["protocol"]
        parts.append(f"### {COLLECTIONS.get(dataset, dataset)}, {protocol} "
                     "(queries / tagged / database)")  # fmt: skip
        parts.append("precision@100, and mAP in brackets, by number of bits:")
        lines = [
            [name, *(_scores(r for r in rows if (row_name(r), r["num_bits"]) == (name, b))
                     for b in bits)]
            for name in _names(rows)
        ]  # fmt: skip
        parts.append(table(["method", *(f"{b} bits" for b in bits)], lines))
    return "\n\n".join(parts)


def plot(contents: Sequence[Content]) -> Figure:
    """precision@100 over the number of bits, a panel for each collection."""
    groups = [(dataset, list(group)) for (dataset,), group in _grouped(contents, "dataset")]
    figure = Figure(figsize=(5.5 * len(groups), 4.5), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for axes, (dataset, rows) in zip(panels, groups, strict=True):
        for name in _names(rows):
            of_row = sorted((r["num_bits"], r["precision_at_100"]) for r in rows
                            if row_name(r) == name)  # fmt: skip
            if len(of_row) > 1:  # one code length makes no line
                axes.plot(*zip(*of_row, strict=True), marker=".", label=name)
        axes.set(xscale="log", xlabel="bits", ylabel="precision@100", ylim=(0, 1),
                 title=COLLECTIONS.get(dataset, dataset))  # fmt: skip
        bits = sorted({r["num_bits"] for r in rows})
        axes.set_xticks(bits, [str(b) for b in bits])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def write_plot(contents: Sequence[Content], path: Path) -> None:
    """Writes the plot as PNG."""
    plot(contents).savefig(path, format="png", dpi=100)


def _scores(rows: Iterable[Content]) -> str:
    return " ".join(f"{row['precision_at_100']:.3f} ({row['map']:.3f})" for row in rows)


def _names(rows: Iterable[Content]) -> list[str]:
    """The rows' names, ordered by method, variants with more improvements first."""
    order = {row_name(row): (list(METHODS).index(row["codes"]), -_count(row)) for row in rows}
    return sorted(order, key=lambda name: (order[name], name))


def _count(row: Content) -> int:
    words = variant(row)
    return {"all improvements": 9, "no improvement": -1, "": 0}.get(words, 1)


def _grouped(contents: Sequence[Content], field: str) -> Any:
    ordered = sorted(contents, key=lambda row: (list(COLLECTIONS) + [row[field]]).index(row[field]))
    return groupby(ordered, key=lambda row: (row[field],))
