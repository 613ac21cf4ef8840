"""Results on documents by code length: tables for each collection, and one plot.

`results_table.py` reads them from `results/documents/`. A row is a method with its improvements, a
column is a number of bits. The arms of `configs/documents_arms.py` have a table of their own. A
content is what `eval.py --result` writes.
"""

import itertools
import statistics
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from matplotlib.figure import Figure

from dsh_jax.errors import UserError
from dsh_jax.report.groups import config_name
from dsh_jax.report.markdown import table
from dsh_jax.report.spread import score, splits
from tools import cells
from tools.cells import Content

METHODS = {
    "shttm_neural": "neural SHTTM", "shttm_rotated": "SHTTM, rotated", "shttm": "SHTTM, published",
    "vdsh_supervised": "VDSH-S", "nash_supervised": "NASH, supervised", "vdsh": "VDSH",
    "nash": "NASH",
    "itq": "ITQ on tf-idf", "topics_itq": "ITQ on LDA topics", "lsh": "LSH on tf-idf",
    "topics": "LDA topics, thresholded",
}  # fmt: skip
COLLECTIONS = {"reuters21578": "Reuters-21578 (ModApte)", "20newsgroups": "20 Newsgroups"}
IMPROVEMENTS = ("nonlinear", "learned_uncertainty", "correlated_tags", "joint_topics")
ARMS = {
    "published": "SHTTM, published",
    "published_learned": "SHTTM, published, learned codes in the database",
    "mean_thresholds": "published + mean thresholds",
    "rotation": "published + rotation",
    "fitted_to_function": "published + fitted to the hash function's outputs",
    "rotated": "SHTTM, rotated: published + all three",
    "rotated_learned": "SHTTM, rotated, learned codes in the database",
    "exposure": "rotated + learned uncertainty",
    "correlated_tags": "rotated + correlated tags",
    "exposure_correlated": "rotated + both",
    "linear": "neural SHTTM, no improvement",
    "nonlinear_encoder": "neural + non-linear encoder",
    "nonlinear_decoder": "neural + non-linear decoder",
    "binary_codes": "neural + bits in training",
    "nonlinear": "neural + these three",
    "learned_uncertainty": "neural + learned uncertainty",
    "neural_correlated_tags": "neural + correlated tags",
    "joint_topics": "neural + joint topics",
    "all": "neural + all improvements",
    "all_linear_decoder": "neural + all but a non-linear decoder",
    "vdsh_supervised": "VDSH-S",
    "nash_supervised": "NASH, supervised",
    "vdsh": "VDSH",
    "nash": "NASH",
}
"""The arms in the order of their rows."""


def arm_of(content: Content) -> str:
    """The arm of a result, empty if it is of another config."""
    file, _, argument = config_name(content.get("run", {})).partition(":")
    return argument.partition("-")[2] if file == "documents_arms" else ""


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
    if arm := arm_of(content):
        return ARMS.get(arm, arm)
    name = METHODS[content["codes"]]
    if content.get("database_codes") == "learned":
        name += ", learned codes in the database"
    return f"{name}: {variant(content)}" if variant(content) else name


def by_collection(contents: Iterable[Content]) -> Iterator[tuple[str, list[Content]]]:
    """Results by data set, in the order of `COLLECTIONS`, each by its seed."""
    order = list(COLLECTIONS)

    def place(row: Content) -> tuple[int, str]:
        dataset = row["dataset"]
        return (order.index(dataset) if dataset in order else len(order)), dataset

    rows = sorted(contents, key=lambda row: (*place(row), row["seed"]))
    for (_, dataset), group in groupby(rows, key=place):
        yield dataset, list(group)


def check(contents: Sequence[Content]) -> None:
    """Refuses results that must not be in one table.

    Raises:
      UserError: results on one collection have different protocols or rules, or one seed and
        different splits; or two are the same.
    """
    for dataset, rows in by_collection(contents):
        firsts = {row["seed"]: row for row in reversed(rows)}
        for row in rows:
            first = {"split_checksum": firsts[row["seed"]], "rules": rows[0], "protocol": rows[0]}
            for field, other in first.items():
                if row[field] != other[field]:
                    raise UserError(
                        f"the results on {dataset} in results/documents differ in their {field}, "
                        "so they cannot be compared; evaluate them on one split and with one "
                        "version."
                    )
        seen = [(row_name(row), row["num_bits"], row["seed"], bool(arm_of(row))) for row in rows]
        for name in seen:
            if seen.count(name) > 1:
                raise UserError(
                    f"{dataset} has two results of {name[0]} at {name[1]} bits and seed {name[2]}."
                )


def render(contents: Sequence[Content]) -> str:
    """Markdown tables for each collection: by number of bits, and of the arms."""
    parts = []
    for dataset, every in by_collection(contents):
        parts.append(f"### {COLLECTIONS.get(dataset, dataset)}, {every[0]['protocol']} "
                     "(queries / tagged / database)")  # fmt: skip
        arms = [row for row in every if arm_of(row)]
        rows = [row for row in every if not arm_of(row)]
        if rows:
            bits = sorted({row["num_bits"] for row in rows})
            about = "precision@100, and mAP in brackets, by number of bits" + _remarks(rows)
            lines = [
                [name, *(_scores([r for r in rows if (row_name(r), r["num_bits"]) == (name, b)])
                         for b in bits)]
                for name in _names(rows)
            ]  # fmt: skip
            parts += [about, table(["method", *(f"{b} bits" for b in bits)], lines)]
        if arms:
            parts += ["Each arm tuned alike" + _remarks(arms), render_arms(arms)]
    return "\n\n".join(parts)


def render_arms(rows: Sequence[Content]) -> str:
    """A Markdown table of arms: scores, and their standard errors over the queries of a draw."""
    lines = []
    for arm, name in ARMS.items():
        of_arm = [row for row in rows if arm_of(row) == arm]
        if of_arm:
            parts = (
                [score([row[field] for row in of_arm], count=False),
                 cells.query_error(of_arm, field)]
                for field in ("precision_at_100", "map")
            )  # fmt: skip
            lines.append([name, of_arm[0]["num_bits"], len(of_arm), *itertools.chain(*parts)])
    header = ("arm", "bits", "n", "precision@100", "s.e. over queries", "mAP", "s.e. over queries")
    return table(header, lines)


def _remarks(rows: Sequence[Content]) -> str:
    """What holds for all cells, as far as the results say it."""
    text = ""
    seeds = {row["seed"]: row["split_checksum"] for row in rows}
    if len(seeds) > 1:
        text += f", ± the standard deviation over {len(seeds)} draws"
        text += splits(list(seeds.values()))
    held = sorted({row["num_validation"] for row in rows if "num_validation" in row})
    if all("num_validation" in row for row in rows):
        text += f"; {' or '.join(map(str, held))} more tagged documents for validation"
    errors = [row.get("standard_error", {}).get("map") for row in rows]
    if None not in errors:
        text += f"; the standard error of mAP over the queries is at most {max(errors):.3f}"
    return text + ":"


def plot(contents: Sequence[Content]) -> Figure:
    """precision@100 over the number of bits, a panel for each collection."""
    groups = list(by_collection(row for row in contents if not arm_of(row)))
    figure = Figure(figsize=(5.5 * len(groups), 4.5), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for axes, (dataset, rows) in zip(panels, groups, strict=True):
        for name in _names(rows):
            of_row: dict[int, list[float]] = {}
            for row in sorted(rows, key=lambda r: r["num_bits"]):
                if row_name(row) == name:
                    of_row.setdefault(row["num_bits"], []).append(row["precision_at_100"])
            if len(of_row) > 1:  # one code length makes no line
                means = [statistics.mean(values) for values in of_row.values()]
                axes.plot(list(of_row), means, marker=".", label=name)
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


def _scores(rows: Sequence[Content]) -> str:
    if not rows:
        return ""
    precision, mean_ap = (
        score([row[field] for row in rows], count=False)
        for field in ("precision_at_100", "map")
    )
    return f"{precision} ({mean_ap})"


def _names(rows: Iterable[Content]) -> list[str]:
    """The rows' names, ordered by method, variants with more improvements first."""
    order = {row_name(row): (list(METHODS).index(row["codes"]), -_count(row)) for row in rows}
    return sorted(order, key=lambda name: (order[name], name))


def _count(row: Content) -> int:
    words = variant(row)
    return {"all improvements": 9, "no improvement": -1, "": 0}.get(words, 1)
