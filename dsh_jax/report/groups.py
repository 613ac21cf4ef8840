"""Runs that differ only in seed and split, as one row: mean and standard deviation of their scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsh_jax.baselines import UNTRAINED
from dsh_jax.errors import UserError
from dsh_jax.files import read_json, replacing
from dsh_jax.report import curves, markdown
from dsh_jax.report.comparison import COLUMNS
from dsh_jax.report.drawing import drawn, save
from dsh_jax.report.names import short
from dsh_jax.report.spread import score, splits
from dsh_jax.training.workdir import FREE_FIELDS, flatten

Result = Mapping[str, Any]
READ_WITHOUT_TRAINING = ("data.", "topics.")
"""How the names of the fields begin that baselines without training depend on."""

_NAME = 200  # characters of a row's name
# Fields that are the draw's, a column's or the method's, or that change nothing but the speed.
_NOT_SHOWN = (*FREE_FIELDS, "seed", "num_bits", "method", "data.split_seed", "data.split_file",
              "num_devices", "log_every_steps", "keep_checkpoints")  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Runs of one method and one setting at one code length.

    Attributes:
      name: the method, and the config fields in which the runs of the method differ.
      num_bits: code length.
      runs: name -> result.
    """

    name: str
    num_bits: int
    runs: Mapping[str, Result]

    @property
    def draws(self) -> set[tuple[Any, ...]]:
        """Seed and split of each run."""
        return {draw(result) for result in self.runs.values()}


def draw(result: Result) -> tuple[Any, ...]:
    """What chance decided in a run: seed, split, and which encoder file if it is one."""
    return result.get("seed"), result["split_checksum"], result.get("encoder")


def group(results: Mapping[str, Result], files: Mapping[str, Path]) -> list[Group]:
    """Groups results by method, setting and bits; lines of a plot follow each other.

    Args:
      results: name -> content, as `comparison.load_results` returns them.
      files: name -> their file; the config is read from its folder.

    Raises:
      UserError: two results are of the same run; a config that is damaged.
    """
    settings = {name: _setting(results[name], path) for name, path in files.items()}
    names = _names(settings)
    groups: dict[tuple[str, int], dict[str, Result]] = {}
    for run, result in results.items():
        runs = groups.setdefault((names[run], result["num_bits"]), {})
        same = next((name for name in runs if draw(runs[name]) == draw(result)), None)
        if same is None:
            runs[run] = result
        elif result["method"] not in UNTRAINED:  # measured beside each training
            raise UserError(
                f"{same} and {run} have the same config, seed and split: this run would count "
                "twice; leave one of them out."
            )
    order = list(dict.fromkeys(names.values()))
    return [
        Group(name, num_bits, runs)
        for (name, num_bits), runs in sorted(
            groups.items(), key=lambda item: (order.index(item[0][0]), item[0][1])
        )
    ]


def render(groups: Sequence[Group]) -> str:
    """A Markdown table with a row for each group, and what its numbers are."""
    rows = []
    for of_row in groups:
        results = list(of_row.runs.values())
        scores = [score([r[column] for r in results], count=False) for column in COLUMNS]
        number = f"{len(results)}{splits([r['split_checksum'] for r in results])}"
        rows.append([short(of_row.name, _NAME), of_row.num_bits, number, *scores])
    (first, *_) = (result for of_row in groups for result in of_row.runs.values())
    about = (
        f"{first['dataset']} {first['dataset_version']}, {first['protocol']} "
        f"(queries/labeled/database), measured by {first['conventions']}. ± is the standard "
        "deviation over the n runs of a row."
    )
    if any(of_row.draws != groups[0].draws for of_row in groups):
        about += (
            " The rows are not of the same seeds and splits, so a part of their differences may be "
            "due to these."
        )
    return f"{markdown.table(['method', 'bits', 'n', *COLUMNS], rows, aligned=True)}\n\n{about}"


def write(groups: Sequence[Group], folder: Path, image_format: str) -> None:
    """Writes `compare.md`, and mAP over bits as `map.FORMAT`."""
    with replacing(folder / "compare.md") as beside:
        beside.write_text(render(groups) + "\n", encoding="utf-8")
    lines: dict[str, dict[int, list[float]]] = {}
    for of_row in groups:
        scores = [result["map"] for result in of_row.runs.values()]
        lines.setdefault(of_row.name, {})[of_row.num_bits] = scores
    save(folder, "map", drawn(curves.map_over_bits(lines), image_format), image_format)


def config_name(run: Mapping[str, Any]) -> str:
    """The name of the config file in a run's command, with its argument; empty if none is there."""
    words = str(run.get("command", "")).replace("--config=", "--config ").split()
    if "--config" not in words[:-1]:
        return ""
    file, colon, argument = words[words.index("--config") + 1].partition(":")
    return Path(file).stem + colon + argument


@dataclass(frozen=True)
class _Setting:
    """What distinguishes runs besides draw and bits: method, config file, fields and values."""

    method: str
    file: str
    fields: Mapping[str, Any]


def _setting(result: Result, path: Path) -> _Setting:
    method, config = str(result["method"]), path.with_name("config.json")
    if not config.exists():  # of `eval.py --encoder`
        return _Setting(f"{method} (encoder file)", "", {})
    content = read_json(config)
    if not isinstance(content, dict):
        raise UserError(f"{config} holds no config; restore it or train again.")
    fields = {name: value for name, value in flatten(content).items() if name not in _NOT_SHOWN}
    if method in UNTRAINED:
        read = {n: v for n, v in fields.items() if n.startswith(READ_WITHOUT_TRAINING)}
        return _Setting(method, "", read)
    fields["checkpoint"] = result.get("checkpoint", "best")
    trained = content.get("method")
    name = method if method == trained else f"{method} of {trained}"
    # What follows the colon is the number of bits, or sets fields.
    return _Setting(name, config_name(result.get("run", {})).partition(":")[0], fields)


def _names(settings: Mapping[str, _Setting]) -> dict[str, str]:
    """The name of each run's row: no more of its setting than distinguishes it."""
    return {run: _name(setting, list(settings.values())) for run, setting in settings.items()}


def _name(setting: _Setting, settings: Sequence[_Setting]) -> str:
    of_method = [other for other in settings if other.method == setting.method]
    alike = [other for other in of_method if other.file == setting.file]
    parts = [setting.method]
    if len(alike) < len(of_method):
        parts.append(setting.file or "unknown config")
    shared: set[str] = set()
    for field, value in sorted(setting.fields.items()):
        if any(other.fields.get(field, value) != value for other in alike):
            parts.append(f"{field}={value}")
        else:
            shared.add(field)
    # Runs of earlier versions lack fields. That is said only where nothing else tells them apart.
    shown = setting.fields.keys() - shared
    missing = {
        field
        for other in alike
        if all(other.fields.get(field) == setting.fields[field] for field in shown)
        for field in other.fields.keys() - setting.fields.keys()
    }
    if missing:
        first, more = sorted(missing)[0], len(missing) - 1
        parts.append(f"without the field {first}" + f" and {more} more" * bool(more))
    return ", ".join(parts)
