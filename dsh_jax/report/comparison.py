"""Comparison of evaluated runs, if they were measured in the same way: one table and one plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dsh_jax.errors import UserError
from dsh_jax.files import read_json, replacing
from dsh_jax.report import figures, markdown
from dsh_jax.report.drawing import drawn, save
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


def result_files(workdirs: Sequence[Path]) -> dict[str, Path]:
    """The results in some workdirs by name: the workdir, or the workdir and the baseline.

    Raises:
      UserError: a workdir without a result, or fewer than two results.
    """
    files: dict[str, Path] = {}
    for workdir in workdirs:
        paths = sorted(workdir.glob("eval*.json"))
        if not paths:
            raise UserError(f"{workdir} holds no eval.json; run eval.py --workdir {workdir} first.")
        for path in paths:
            baseline = path.stem.removeprefix("eval").removeprefix("_")
            files[f"{workdir} {baseline}".strip()] = path
    if len(files) < 2:
        raise UserError("there is only one result; name two workdirs or more.")
    return files


def load_results(
    files: Mapping[str, Path], *, several_splits: bool = False
) -> dict[str, dict[str, Any]]:
    """The results in some files, if they were measured in the same way.

    Args:
      files: of `result_files`.
      several_splits: whether splits may be different draws of one protocol.

    Raises:
      UserError: a result that lacks a field, or results that were measured differently; the error
        then has both names.
    """
    results = {name: _checked(path) for name, path in files.items()}
    (first_name, first), *others = results.items()
    for name, result in others:
        for field, what in _SAME.items():
            is_draw = field == "split_checksum"
            if result[field] != first[field] and not (is_draw and several_splits):
                mean = "; --group compares means over splits" if is_draw else ""
                raise UserError(
                    f"{first_name} ({_words(first[field])}) and {name} ({_words(result[field])}) "
                    f"differ in their {what}, so their scores cannot be compared{mean}."
                )
    return results


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The scores as Markdown, the best mAP first."""
    rows = [
        [
            short(name, _NAME), result["num_bits"], result["num_labeled"],
            *(f"{result[column]:.4f}" for column in COLUMNS),
            result["code_health"]["distinct_codes"],
        ]
        for name, result in sorted(results.items(), key=lambda item: -item[1]["map"])
    ]  # fmt: skip
    header = ["run", "bits", "labeled", *COLUMNS, "distinct codes"]
    return markdown.table(header, rows, aligned=True)


def write_comparison(
    results: Mapping[str, Mapping[str, Any]], folder: Path, image_format: str
) -> None:
    """Writes `compare.md`, and the precision-recall curves of all results, `compare.FORMAT`."""
    with replacing(folder / "compare.md") as beside:
        beside.write_text(table(results) + "\n", encoding="utf-8")
    picture = drawn(figures.radius_curves(results), image_format)
    save(folder, "compare", picture, image_format)


def _words(value: str | Mapping[str, str]) -> str:
    """A field of a result in an error; of rules, their names."""
    return value if isinstance(value, str) else "/".join(value)


def _checked(path: Path) -> dict[str, Any]:
    result = read_json(path)
    needed = (*_SAME, *COLUMNS, "method", "num_bits", "num_labeled", "radius_curve", "code_health")
    missing = [field for field in needed if not isinstance(result, dict) or field not in result]
    if missing:
        raise UserError(f"{path} has no {missing[0]}; write it again with eval.py.")
    return result
