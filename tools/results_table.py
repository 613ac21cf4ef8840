"""Writes the tables of docs/results.md and README.md from what `eval.py --result` wrote.

    python -m tools.results_table [--check] [--root .]

A table of docs/results.md is for one data set and one protocol, because results under different
protocols cannot be compared; README.md has a few of their rows. `--check` writes nothing and exits
1 if a page is not up to date.
"""

import os
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from dsh_jax.errors import UserError
from dsh_jax.files import replacing
from tools import documents_table, tables
from tools.tables import table

METHODS = {
    "synthetic": "DSH-GANs", "real": "triplet-only control", "cnnh_plus": "CNNH+", "cnnh": "CNNH",
    "classifier": "its classifier's label", "itq": "ITQ", "lsh": "LSH",
}  # fmt: skip
BASELINES = ("itq", "lsh", "topics", "topics_itq")
DATASETS = {"cifar10": "CIFAR-10 (JPEG)", "digits": "Handwritten digits",
            "multi_digits": "Several handwritten digits per image"}  # fmt: skip
NOTES = {
    "cifar10": "CIFAR-10 here is a JPEG re-encoding of the original pixels.",
    "multi_digits": "Two images are similar if they share a digit; most do, so a random order has "
    "a high mAP already. nDCG counts how many they share.",
}
COLUMNS = ("method", "network or config", "bits", "labeled images", "mAP", "precision@100", "seed",
           "training time", "machine", "file")  # fmt: skip
_SCORES_END = COLUMNS.index("seed")
# What the README shows: data set -> bits, number of labeled items (None: any), methods.
_IMAGE_CODES = ("synthetic", "real", "classifier", "cnnh_plus", "cnnh", "itq")
_DOCUMENT_CODES = ("shttm_neural", "shttm_rotated", "shttm", "itq")
_HEADLINES: dict[str, tuple[int, int | None, tuple[str, ...]]] = {
    "cifar10": (48, None, _IMAGE_CODES),
    "digits": (16, 200, _IMAGE_CODES),
    "multi_digits": (24, None, _IMAGE_CODES),
    "reuters21578": (32, None, _DOCUMENT_CODES),
    "20newsgroups": (32, None, _DOCUMENT_CODES),
}
_NO_RESULT_EXPECTED = ("default", "smoke", "image_folder")  # a base, a test, the user's own images
GRADED = "ndcg_at_100"  # only for items with several labels
# Overrides that do not distinguish configurations, or that have their own column.
_NOT_SHOWN = ("data.data_dir", "data.labeled_per_class", "data.split_seed", "num_bits", "seed",
              "triplets")  # fmt: skip
# Configs that had another name when their results were made.
_RENAMED = {"cnnh_cifar10_48bit": "cnnh_cifar10:48",
            "cnnh_plus_cifar10_48bit": "cnnh_plus_cifar10:48"}  # fmt: skip
_FIELDS = {"dataset": str, "protocol": str, "split_checksum": str, "rules": dict, "codes": str,
           "num_bits": int, "num_labeled": int, "seed": int, "map": float,
           "precision_at_100": float, "run": dict}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """One evaluated run; `content` is that of its file. Times are in seconds, of training only."""

    path: Path
    content: dict[str, Any]

    @property
    def table(self) -> tuple[str, str]:
        """The key of its table: data set and protocol."""
        return self.content["dataset"], self.content["protocol"]

    @property
    def row(self) -> tuple[int, int, str, str, int]:
        """The key of its row, which also sorts rows; runs with several seeds share a row."""
        codes = self.content["codes"]
        order = list(METHODS).index(codes) if codes in METHODS else len(METHODS)
        return (self.content["num_labeled"], order, codes, self.config, self.content["num_bits"])

    @property
    def config(self) -> str:
        """The config file's name and the overrides that make this another configuration."""
        if self.content["codes"] in BASELINES:
            return "tf-idf" if self.is_text else "raw pixels"
        run = self.content["run"]
        fields = (text.removeprefix("--config.").partition("=") for text in run["overrides"])
        changed = {field: value for field, _, value in fields if field not in _NOT_SHOWN}
        latest = ["latest checkpoint"] if self.content.get("checkpoint") == "latest" else []
        texts = [f"{field}={value}" for field, value in sorted(changed.items())]
        return ", ".join([self.config_file, *texts, *latest])

    @property
    def config_file(self) -> str:
        """The config file's name and its argument; empty for a baseline."""
        words = self.content["run"].get("command", "").replace("--config=", "--config ").split()
        if "--config" not in words:
            return ""
        file, colon, argument = words[words.index("--config") + 1].partition(":")
        name = Path(file).stem + colon + argument
        return _RENAMED.get(name, name)

    @property
    def is_text(self) -> bool:
        """Whether the items are documents."""
        return self.content["dataset"] in documents_table.COLLECTIONS

    @property
    def machine(self) -> str:
        """The device that trained, and how many."""
        run = self.content["run"]
        return tables.machine(run["hardware"]) if run else "-"


def read(path: Path) -> Result:
    """Reads one file of `eval.py --result`.

    Raises:
      UserError: it is not JSON, or lacks a field that a table needs.
    """
    again = f"write it again with eval.py --result {path}"
    content = tables.read_json(path, again)
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
    """Refuses results that must not be in one table.

    Raises:
      UserError: two results with the same table and number of labels have different rules, or
        the same seed and different splits, or two have the same configuration and seed; names both
        files.
    """
    firsts: dict[Any, Result] = {}
    runs: dict[Any, Result] = {}
    for result in results:
        alike = (result.table, result.content["num_labeled"])
        # Different seeds may have different splits, but one seed has one split.
        for field, key in (("rules", alike), ("split_checksum", (*alike, result.content["seed"]))):
            first = firsts.setdefault((field, key), result)
            if first.content[field] != result.content[field]:
                raise UserError(
                    f"{first.path} and {result.path} have the protocol "
                    f"{result.content['protocol']} but a different {field}, so they cannot be "
                    "compared; evaluate both on one split and with one version."
                )
        same = runs.setdefault((result.table, result.row, result.content["seed"]), result)
        if same is not result:
            raise UserError(
                f"{same.path} and {result.path} have the same configuration and seed, and would "
                "count twice; delete one."
            )


def render(results: Sequence[Result], folder: Path) -> str:
    """All tables of results on images as Markdown; links are relative to `folder`."""
    parts = []
    for (dataset, protocol), of_table in groupby(_ordered(results), lambda r: r.table):
        title = DATASETS.get(dataset, dataset)
        parts.append(f"### {title}, {protocol} (queries / labeled / database)")
        if dataset in NOTES:
            parts.append(NOTES[dataset])
        in_table = list(of_table)
        graded = all(GRADED in result.content for result in in_table)
        columns = list(COLUMNS)
        columns[_SCORES_END:_SCORES_END] = ["nDCG@100"] if graded else []
        rows = [
            _row(list(runs), folder, graded=graded)
            for _, runs in groupby(in_table, lambda r: r.row)
        ]
        parts.append(table(columns, rows))
    return "\n\n".join(parts)


def _row(runs: Sequence[Result], folder: Path, *, graded: bool) -> list[object]:
    """One row: a run, or the mean of runs that differ only in the seed."""
    contents = [run.content for run in runs]
    seconds = [content["train_seconds"] for content in contents if "train_seconds" in content]
    links = [f"[{r.path.stem}]({Path(os.path.relpath(r.path, folder)).as_posix()})" for r in runs]
    codes = contents[0]["codes"]
    num_splits = len({content["split_checksum"] for content in contents})
    return [
        METHODS.get(codes, codes),
        runs[0].config,
        contents[0]["num_bits"],
        contents[0]["num_labeled"],
        _score([content["map"] for content in contents]),
        _score([content["precision_at_100"] for content in contents]),
        *([_score([content[GRADED] for content in contents])] if graded else []),
        ", ".join(str(content["seed"]) for content in contents)
        + (f"; {num_splits} splits" if num_splits > 1 else ""),
        _time(statistics.mean(seconds)) if seconds else "-",
        "; ".join(sorted({run.machine for run in runs})),
        " ".join(links),
    ]


def render_headlines(results: Iterable[Result]) -> str:
    """The README's table: each method with the fewest overrides, at one code length."""
    rows = []
    for dataset, (num_bits, num_labeled, shown) in _HEADLINES.items():
        chosen = [
            result
            for result in _ordered(results)
            if result.content["dataset"] == dataset
            and result.content["num_bits"] == num_bits
            and result.content["num_labeled"] == (num_labeled or result.content["num_labeled"])
        ]
        for (_, protocol), of_table in groupby(chosen, lambda r: r.table):
            in_table = list(of_table)
            title = (DATASETS | documents_table.COLLECTIONS).get(dataset, dataset)
            for codes in shown:
                for runs in _plainest([r for r in in_table if r.content["codes"] == codes]):
                    text = runs[0].is_text
                    name = (documents_table.METHODS if text else METHODS)[codes]
                    name += " on raw pixels" if codes in BASELINES and not text else ""
                    scores = [
                        _score([run.content[field] for run in runs])
                        for field in ("map", "precision_at_100")
                    ]
                    config = runs[0].config_file or "-"
                    rows.append([f"{title}, {protocol}", name, config, num_bits, *scores])
    header = ("data (queries / labeled / database)", "method", "config", "bits", "mAP",
              "precision@100")  # fmt: skip
    return table(header, rows) if rows else ""


def _plainest(results: Sequence[Result]) -> list[list[Result]]:
    """For each config file the runs with the fewest overrides; several seeds stay together."""
    files: dict[str, list[Result]] = {}
    for (_, file), runs in groupby(results, lambda r: (r.row, r.config_file)):
        alike = list(runs)
        best = files.setdefault(file, alike)
        if alike[0].config.count(",") < best[0].config.count(","):
            files[file] = alike
    return list(files.values())


def without_result(results: Iterable[Result], configs: Path) -> str:
    """A sentence that names the configs without a result; empty if all have one."""
    measured = {result.config_file.partition(":")[0] for result in results}
    names = [
        f"`{path.stem}`"
        for path in sorted(configs.glob("*.py"))
        # An experiment's header has its command; other files are bases of experiments.
        if f"--config configs/{path.name}" in path.read_text()
        and path.stem not in measured | {*_NO_RESULT_EXPECTED}
    ]
    return f"Configs without a result so far: {', '.join(names)}." if names else ""


def _ordered(results: Iterable[Result]) -> list[Result]:
    return sorted(results, key=lambda r: (r.table, r.row, r.content["seed"]))


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes or checks the pages; returns the exit code."""
    options = tables.options(str(__doc__), arguments)
    root, docs = options.root, options.root / "docs"
    try:
        images = [read(path) for path in sorted(root.glob("results/*.json"))]
        check(images)
        documents = [read(path) for path in sorted(root.glob("results/documents/*.json"))]
        contents = [result.content for result in documents]
        documents_table.check(contents)
        every = [*images, *documents]
        whole = [render(images, docs), documents_table.render(contents)]
        short = [render_headlines(every), without_result(every, root / "configs")]
        pages = {
            docs / "results.md": ("results", "\n\n".join(filter(None, whole))),
            root / "README.md": ("headlines", "\n\n".join(filter(None, short))),
        }
        code = tables.update(pages, check=options.check)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if contents and not options.check:
        with replacing(docs / "documents_bits.png") as beside:
            documents_table.write_plot(contents, beside)
    return code


if __name__ == "__main__":
    sys.exit(main())
