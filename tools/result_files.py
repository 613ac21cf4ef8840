"""Reads what `eval.py --result` wrote, and refuses results that must not be in one table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from dsh_jax.baselines import OF_NETWORK, UNTRAINED
from dsh_jax.errors import UserError
from dsh_jax.report.groups import config_name
from tools import documents_table, tables

METHODS = {
    "synthetic": "DSH-GANs", "gan_real": "the same game, real triplets",
    "real": "network alone, real triplets", "network": "network alone",
    "cnnh_plus": "CNNH+", "cnnh": "CNNH",
    "classifier": "its classifier's label", "graded": "its classifier, graded",
    "features_itq": "ITQ on its features",
    "itq": "ITQ", "lsh": "LSH", "pca": "sign of PCA", "cosine": "the floats, by cosine",
}
BASELINES = UNTRAINED
# Overrides that do not distinguish configurations, or that have their own column.
_NOT_SHOWN = ("data.data_dir", "data.root", "data.labeled_per_class", "data.split_seed",
              "data.unseen_classes", "num_bits", "seed")  # fmt: skip
# Configs that had another name when their results were made.
_RENAMED = {"cnnh_cifar10_48bit": "cnnh_cifar10:48",
            "cnnh_plus_cifar10_48bit": "cnnh_plus_cifar10:48"}  # fmt: skip
_FIELDS = {"dataset": str, "protocol": str, "split_checksum": str, "rules": dict, "codes": str,
           "num_bits": int, "num_labeled": int, "seed": int, "map": float,
           "precision_at_100": float, "run": dict}  # fmt: skip
# Results of version 0.2 lack these; tables then have a gap.
_NEWER = {"num_validation": int, "standard_error": dict, "query_average_precision": list}


@dataclass(frozen=True)
class Result:
    """One evaluated run; `content` is that of its file. Times are in seconds, of training only."""

    path: Path
    content: dict[str, Any]

    @property
    def table(self) -> tuple[str, str]:
        """The key of its table: data set and protocol.

        Of unseen classes each draw has others, whose sizes may differ by a few items.
        """
        protocol = self.content["protocol"]
        if self.content.get("unseen_classes"):
            protocol = protocol.rpartition("/")[0] + "/the rest"
        return self.content["dataset"], protocol

    @property
    def row(self) -> tuple[int, int, str, str, int]:
        """The key of its row, which also sorts rows; runs of several draws share a row."""
        codes = self.content["codes"]
        order = list(METHODS).index(codes) if codes in METHODS else len(METHODS)
        return (self.content["num_labeled"], order, codes, self.config, self.content["num_bits"])

    @property
    def draw(self) -> tuple[int, str]:
        """The key of its draw: seed of training, and split."""
        return self.content["seed"], self.content["split_checksum"]

    @property
    def config(self) -> str:
        """The config file's name and the overrides that make this another configuration."""
        if self.content["codes"] in BASELINES:
            return self.features
        return ", ".join([self.config_file, *self.changes])

    @property
    def features(self) -> str:
        """What baselines are fitted to."""
        if self.is_text:
            return "tf-idf"
        return "the same vectors" if self.content.get("kind") == "vectors" else "raw pixels"

    @property
    def run(self) -> Mapping[str, Any]:
        """How it was trained; of an encoder file, which does not say that, how it was measured."""
        return self.content["run"] or self.content.get("measured_by", {})

    @property
    def changes(self) -> list[str]:
        """What makes this another configuration than the config file's own; none of a baseline."""
        fields = (
            text.removeprefix("--config.").partition("=")
            for text in self.run.get("overrides", [])
        )
        # The kind of codes says which triplets they are from, except for others of its network.
        others = self.content["codes"] in OF_NETWORK
        hidden = (*_NOT_SHOWN, *([] if others else ["triplets", "gan"]))
        changed = {field: value for field, _, value in fields if field not in hidden}
        latest = ["latest checkpoint"] if self.content.get("checkpoint") == "latest" else []
        return [*(f"{field}={value}" for field, value in sorted(changed.items())), *latest]

    @property
    def config_file(self) -> str:
        """The config file's name and its argument; empty for a baseline."""
        name = config_name(self.run)
        return _RENAMED.get(name, name)

    @property
    def arm(self) -> str:
        """The arm of a config of arms, and what changes it; empty for other configs."""
        file, _, argument = self.config_file.partition(":")
        if not file.endswith("_arms") or self.content["codes"] in OF_NETWORK:
            return ""
        return ", ".join([argument.rpartition("-")[2], *self.changes])

    @property
    def method(self) -> str:
        """The method, or the arm of documents, in words."""
        codes = self.content["codes"]
        if self.is_text:
            arm = documents_table.arm_of(self.content)
            return documents_table.ARMS[arm] if arm else documents_table.METHODS[codes]
        name = METHODS.get(codes, codes)
        if "_paper" in self.config_file and codes not in OF_NETWORK:
            return f"{name}, the paper's form"
        return f"{name} with consistency" if self.arm.endswith("+consistency") else name

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
    there = _NEWER.keys() & content.keys() if isinstance(content, Mapping) else set()
    for field, kind in (_FIELDS | {field: _NEWER[field] for field in sorted(there)}).items():
        value = content.get(field) if isinstance(content, dict) else None
        if not isinstance(value, (int, float) if kind is float else kind):
            raise UserError(f"{path} has no {field}, or not of type {kind.__name__}; {again}.")
    if content["codes"] not in BASELINES and not (content["run"] == {} and "encoder" in content):
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
        # A draw has one split. Results of version 0.2 do not say the split's seed; it was 0.
        draw = result.content["seed"], result.content.get("split_seed", 0)
        for field, key in (("rules", alike), ("split_checksum", (*alike, *draw))):
            first = firsts.setdefault((field, key), result)
            if first.content[field] != result.content[field]:
                raise UserError(
                    f"{first.path} and {result.path} have the protocol "
                    f"{result.content['protocol']} but a different {field}, so they cannot be "
                    "compared; evaluate both on one split and with one version."
                )
        same = runs.setdefault((result.table, result.row, *draw), result)
        if same is not result:
            raise UserError(
                f"{same.path} and {result.path} have the same configuration and seed, and would "
                "count twice; delete one."
            )


def ordered(results: Iterable[Result]) -> list[Result]:
    """Results by table, row and seed."""
    return sorted(results, key=lambda r: (r.table, r.row, r.content["seed"]))


def rows(results: Iterable[Result]) -> list[list[Result]]:
    """Results by row: each has the runs that differ only in their draw."""
    return [list(runs) for _, runs in groupby(ordered(results), lambda r: (r.table, r.row))]


def plainest(of_rows: Iterable[Sequence[Result]]) -> list[list[Result]]:
    """For each config file the row with the fewest overrides."""
    files: dict[str, list[Result]] = {}
    for runs in of_rows:
        best = files.setdefault(runs[0].config_file, list(runs))
        if len(runs[0].changes) < len(best[0].changes):
            files[runs[0].config_file] = list(runs)
    return list(files.values())
