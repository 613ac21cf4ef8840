"""Writes the tables between the markers in README.md from what `eval.py --result` wrote.

    python -m tools.results_table [--check] [--results results] [--readme README.md]

A table holds one data set and one protocol, because numbers under different protocols say nothing
of each other. `--check` writes nothing and exits 1 where the README is not up to date.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

# Run as a file, only this folder is on the path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dsh_jax.errors import UserError
from dsh_jax.files import replacing
from tools import documents_table

ROOT = Path(__file__).resolve().parents[1]

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
METHODS = {
    "synthetic": "DSH-GANs", "real": "triplet-only control", "cnnh_plus": "CNNH+", "cnnh": "CNNH",
    "classifier": "its classifier's label", "itq": "ITQ", "lsh": "LSH",
}  # fmt: skip
BASELINES = ("itq", "lsh", "topics", "topics_itq")
DATASETS = {"cifar10": "CIFAR-10 (JPEG)", "digits": "Handwritten digits",
            "multi_digits": "Several handwritten digits an image"}  # fmt: skip
NOTES = {
    "cifar10": "CIFAR-10 here is a JPEG re-encoding of the original pixels.",
    "multi_digits": "Two images are similar if they share a digit; most do, so a random order has "
    "a high mAP already. nDCG counts how many they share.",
}
COLUMNS = ("method", "network or config", "bits", "labeled images", "mAP", "precision@100", "seed",
           "training time", "machine", "file")  # fmt: skip
_SCORES_END = COLUMNS.index("seed")
GRADED = "ndcg_at_100"  # which results have where items have several labels
# Overrides that do not tell configurations apart, or that a column of their own shows.
_NOT_SHOWN = ("data.data_dir", "data.labeled_per_class", "num_bits", "seed", "triplets")
# Configs that had another name when their results were made.
_RENAMED = {"cnnh_cifar10_48bit": "cnnh_cifar10:48",
            "cnnh_plus_cifar10_48bit": "cnnh_plus_cifar10:48"}  # fmt: skip
_FIELDS = {"dataset": str, "protocol": str, "split_checksum": str, "rules": dict, "codes": str,
           "num_bits": int, "num_labeled": int, "seed": int, "map": float,
           "precision_at_100": float, "run": dict}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """One evaluated run; `content` is its file. Times are in seconds, of training alone."""

    path: Path
    content: dict[str, Any]

    @property
    def table(self) -> tuple[str, str]:
        """What a table has in common: data set and protocol."""
        return self.content["dataset"], self.content["protocol"]

    @property
    def row(self) -> tuple[int, int, str, str, int]:
        """What a row has in common, in the order of the rows: runs of several seeds are one row."""
        codes = self.content["codes"]
        order = list(METHODS).index(codes) if codes in METHODS else len(METHODS)
        return (self.content["num_labeled"], order, codes, self.config, self.content["num_bits"])

    @property
    def config(self) -> str:
        """The config file's name and the overrides that make this another configuration."""
        if self.content["codes"] in BASELINES:
            return "raw pixels"
        run = self.content["run"]
        words = run["command"].replace("--config=", "--config ").split()
        config = words[words.index("--config") + 1] if "--config" in words else "?"
        file, colon, argument = config.partition(":")
        name = Path(file).stem + colon + argument
        name = _RENAMED.get(name, name)
        fields = (text.removeprefix("--config.").partition("=") for text in run["overrides"])
        changed = {field: value for field, _, value in fields if field not in _NOT_SHOWN}
        latest = ["latest checkpoint"] if self.content.get("checkpoint") == "latest" else []
        return ", ".join([name, *(f"{k}={v}" for k, v in sorted(changed.items())), *latest])

    @property
    def machine(self) -> str:
        """The device that trained, and how many."""
        if not self.content["run"]:
            return "-"
        hardware = self.content["run"]["hardware"]
        if hardware["platform"] == "cpu":
            return f"{hardware['cpu']}, {hardware['cpu_cores']} cores"
        return f"{hardware['num_devices']} x {hardware['device']}"


def read(path: Path) -> Result:
    """Reads one file of `eval.py --result`.

    Raises:
      UserError: it is not JSON, or lacks what a table needs.
    """
    again = f"write it again with eval.py --result {path}"
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable JSON file ({error}); {again}.") from error
    for field, kind in _FIELDS.items():
        value = content.get(field) if isinstance(content, dict) else None
        if not isinstance(value, (int, float) if kind is float else kind):
            raise UserError(f"{path} has no {field}, or not of type {kind.__name__}; {again}.")
    if content["codes"] not in BASELINES:
        missing = {"command", "overrides", "hardware"} - content["run"].keys()
        if missing or "train_seconds" not in content:
            raise UserError(f"{path} does not say how it was trained; {again}.")
    return Result(path, content)


def check(results: Iterable[Result]) -> None:
    """Refuses results that one table must not hold side by side.

    Raises:
      UserError: two results of one table and as many labels are of different splits or measured by
        different rules, or two are of the same configuration and seed; both files are named.
    """
    splits: dict[Any, Result] = {}
    runs: dict[Any, Result] = {}
    for result in results:
        first = splits.setdefault((result.table, result.content["num_labeled"]), result)
        for field in ("split_checksum", "rules"):
            if first.content[field] != result.content[field]:
                raise UserError(
                    f"{first.path} and {result.path} have the protocol "
                    f"{result.content['protocol']} but a different {field}, so they cannot be "
                    "compared; evaluate both on one split and with one version."
                )
        same = runs.setdefault((result.table, result.row, result.content["seed"]), result)
        if same is not result:
            raise UserError(
                f"{same.path} and {result.path} are of the same configuration and seed, and would "
                "count twice; delete one."
            )


def render(results: Sequence[Result], folder: Path) -> str:
    """All tables as Markdown; links are relative to `folder`."""
    parts = []
    for (dataset, protocol), rows in groupby(
        sorted(results, key=lambda r: (r.table, r.row, r.content["seed"])), lambda r: r.table
    ):
        title = DATASETS.get(dataset, dataset)
        parts.append(f"### {title}, {protocol} (queries / labeled / database)")
        if dataset in NOTES:
            parts.append(NOTES[dataset])
        in_table = list(rows)
        graded = all(GRADED in result.content for result in in_table)
        columns = list(COLUMNS)
        columns[_SCORES_END:_SCORES_END] = ["nDCG@100"] if graded else []
        lines = [_cells(columns), _cells(["---"] * len(columns))]
        lines += [
            _row(list(runs), folder, graded=graded)
            for _, runs in groupby(in_table, lambda r: r.row)
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def render_benchmarks(folder: Path, readme: Path) -> str:
    """What `benchmarks/*.py --result` wrote into a folder, a table each, as Markdown.

    Raises:
      UserError: a file is not what they write.
    """
    parts = []
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_text())
            hardware, figures = content["run"]["hardware"], content["figures"]
            link = f"[{path.stem}]({Path(os.path.relpath(path, readme)).as_posix()})"
            title = f"### {content['title']}: {hardware['cpu']}, {hardware['cpu_cores']} cores"
            lines = [_cells(["measured", link]), _cells(["---"] * 2)]
            lines += [_cells(row) for row in figures.items()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is no result of a benchmark; write it again.") from error
        parts += [title, "\n".join(lines)]
    return "\n\n".join(parts)


def _row(runs: Sequence[Result], folder: Path, *, graded: bool) -> str:
    """One row of the runs of one configuration, by seed."""
    contents = [run.content for run in runs]
    seconds = [content["train_seconds"] for content in contents if "train_seconds" in content]
    links = [
        f"[{run.path.stem}]({Path(os.path.relpath(run.path, folder)).as_posix()})" for run in runs
    ]
    codes = contents[0]["codes"]
    return _cells(
        [
            METHODS.get(codes, codes),
            runs[0].config,
            contents[0]["num_bits"],
            contents[0]["num_labeled"],
            _score([content["map"] for content in contents]),
            _score([content["precision_at_100"] for content in contents]),
            *([_score([content[GRADED] for content in contents])] if graded else []),
            ", ".join(str(content["seed"]) for content in contents),
            _time(statistics.mean(seconds)) if seconds else "-",
            "; ".join(sorted({run.machine for run in runs})),
            " ".join(links),
        ]
    )


def _score(values: Sequence[float]) -> str:
    """The value, or mean ± sample standard deviation of several."""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f} (n = {len(values)})"


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _cells(values: Iterable[object]) -> str:
    return "| " + " | ".join(str(value).replace("|", "\\|") for value in values) + " |"


def replaced(readme: str, tables: str, path: Path) -> str:
    """The README's text with `tables` between its markers.

    Raises:
      UserError: it has not each marker once, in order.
    """
    counts = readme.count(BEGIN), readme.count(END)
    if counts != (1, 1) or readme.index(BEGIN) > readme.index(END):
        raise UserError(f"{path} must hold the lines {BEGIN} and {END} once each, in this order.")
    before, after = readme.index(BEGIN) + len(BEGIN), readme.index(END)
    # Blank lines, or Markdown would take the markers for a part of the tables.
    between = f"\n\n{tables}\n\n" if tables else "\n"
    return readme[:before] + between + readme[after:]


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes or checks the README; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if outdated")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="folder of *.json")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    options = parser.parse_args(arguments)
    try:
        results = [read(path) for path in sorted(options.results.glob("*.json"))]
        check(results)
        documents = [read(path) for path in sorted(options.results.glob("documents/*.json"))]
        contents = [result.content for result in documents]
        documents_table.check(contents)
        old = options.readme.read_text() if options.readme.exists() else ""
        folder = options.readme.parent
        tables = [
            render(results, folder),
            documents_table.render(contents),
            render_benchmarks(options.results / "speed", folder),
        ]
        new = replaced(old, "\n\n".join(filter(None, tables)), options.readme)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.check and new != old:
        print(f"{options.readme} is not up to date; run make tables.", file=sys.stderr)
        return 1
    if new != old:
        with replacing(options.readme) as beside:
            beside.write_text(new)
    if contents and not options.check:
        with replacing(folder / "docs/documents_bits.png") as beside:
            documents_table.write_plot(contents, beside)
    return 0


if __name__ == "__main__":
    sys.exit(main())
