"""Comparison of evaluated runs, if they were measured in the same way: one table and one plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dsh_jax.errors import UserError
from dsh_jax.files import read_json, replacing
from dsh_jax.report import figures
from dsh_jax.report.names import short

COLUMNS = ("map", "precision_at_100", "precision_at_1000", "precision_within_radius_2")
_NAME = 200  # characters of a run's name in the table
# Fields that comparable results have in common -> their names in the error.
_SAME = {
    "dataset": "data set",
    "dataset_version": "version of the data",
    "protocol": "protocol",
    "split_checksum": "split",
    "conventions": "conventions",
}


def load_results(workdirs: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """The results in some workdirs by name: the workdir, or the workdir and the baseline.

    Raises:
      UserError: a workdir without a result, fewer than two results, a result that lacks a field,
        or results that were measured differently; the error then has both names.
    """
    results: dict[str, dict[str, Any]] = {}
    for workdir in workdirs:
        paths = sorted(workdir.glob("eval*.json"))
        if not paths:
            raise UserError(f"{workdir} holds no eval.json; run eval.py --workdir {workdir} first.")
        for path in paths:
            baseline = path.stem.removeprefix("eval").removeprefix("_")
            results[f"{workdir} {baseline}".strip()] = _checked(path)
    if len(results) < 2:
        raise UserError("there is only one result; name two workdirs or more.")
    (first_name, first), *others = results.items()
    for name, result in others:
        for field, what in _SAME.items():
            if result[field] != first[field]:
                raise UserError(
                    f"{first_name} ({_words(first[field])}) and {name} ({_words(result[field])}) "
                    f"differ in their {what}, so their scores cannot be compared."
                )
    return results


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The scores as Markdown, the best mAP first."""
    lines = [["run", "bits", "labeled", *COLUMNS, "distinct codes"]]
    lines.append(["---"] * len(lines[0]))
    for name, result in sorted(results.items(), key=lambda item: -item[1]["map"]):
        scores = [f"{result[column]:.4f}" for column in COLUMNS]
        distinct = str(result["code_health"]["distinct_codes"])
        numbers = [str(result["num_bits"]), str(result["num_labeled"]), *scores, distinct]
        lines.append([_cell(name), *numbers])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    padded = [[c.ljust(width) for c, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def write_comparison(results: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Writes `compare.md` and `compare.png`, the precision-recall curves of all results."""
    with replacing(folder / "compare.md") as beside:
        beside.write_text(table(results) + "\n", encoding="utf-8")
    with replacing(folder / "compare.png") as beside:
        figures.radius_curves(results).savefig(beside, format="png", dpi=120)


def _cell(name: str) -> str:
    """A name in a cell of a Markdown table."""
    return short(name, _NAME).replace("|", r"\|")


def _words(value: str | Mapping[str, str]) -> str:
    """A field of a result in an error; of rules, their names."""
    return value if isinstance(value, str) else "/".join(value)


def _checked(path: Path) -> dict[str, Any]:
    result = read_json(path)
    needed = (*_SAME, *COLUMNS, "num_bits", "num_labeled", "radius_curve", "code_health")
    missing = [field for field in needed if not isinstance(result, dict) or field not in result]
    if missing:
        raise UserError(f"{path} has no {missing[0]}; write it again with eval.py.")
    return result
