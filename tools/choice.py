"""The choice of a setting by validation mAP, from the records of finished trainings."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dsh_jax import fields
from dsh_jax.checkpoints import METRIC
from dsh_jax.fields import Rules
from dsh_jax.files import read_json
from dsh_jax.report.markdown import table
from dsh_jax.report.spread import mean_and_deviation, score
from dsh_jax.training.experiment import FIELDS, find_recipe
from dsh_jax.training.workdir import FREE_FIELDS, as_dict, command_line, flatten
from tools import cells
from tools.grid import Run
from tools.processes import Died

Record = Mapping[str, Any]
"""What `record_of` returns."""


def record_of(workdir: Path) -> dict[str, Any]:
    """How a finished training did on its validation items, and what it was; reads no query.

    Returns:
      The best `validation_map`, the `step` of its checkpoint, the `seconds` of training,
      `num_validation`, `split_checksum`, and `run` as train.py wrote it.

    Raises:
      Died: there was no validation.
      UserError: the workdir is damaged.
    """
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    scores = [(line[METRIC], line["step"]) for line in lines if METRIC in line]
    if not scores:
        raise Died(f"{workdir}/metrics.jsonl holds no {METRIC}")
    score, step = max(scores)
    split = read_json(workdir / "split.json")
    return {
        METRIC: score,
        "step": step,
        "seconds": max(line.get("seconds", 0.0) for line in lines),
        "num_validation": len(split["validation"]),
        "split_checksum": split["checksum"],
        "run": read_json(workdir / "run.json"),
    }


def tried(runs: Sequence[Run], records_by_name: Mapping[str, Record]) -> list[dict[str, Any]]:
    """Each setting with its scores, the best first; those with a run that died are last.

    Args:
      runs: all of them.
      records_by_name: name of a run -> its record; none for one that died.

    Returns:
      Rows whose `validation_map` is the mean over the draws, None unless each of them has one.
    """
    of_setting: dict[Any, list[Run]] = {}
    for run in runs:
        of_setting.setdefault(run.setting, []).append(run)
    rows = []
    for alike in of_setting.values():
        records = [records_by_name.get(run.name, {}) for run in alike]
        scores = [record.get(METRIC) for record in records]
        there = [score for score in scores if score is not None]
        whole = len(there) == len(scores)
        mean, deviation = mean_and_deviation(there) if whole else (None, None)
        rows.append(
            {
                "setting": alike[0].values,
                METRIC: mean,
                "standard_deviation": deviation,
                "of_draws": scores,
                "steps": [record.get("step") for record in records],
                "seconds": sum(record.get("seconds", 0.0) for record in records),
                "commits": sorted({r["run"].get("commit", "unknown") for r in records if r}),
            }
        )
    return sorted(rows, key=lambda row: -math.inf if row[METRIC] is None else row[METRIC],
                  reverse=True)  # fmt: skip


def on_edge(
    chosen: Mapping[str, Any], settings: Sequence[Mapping[str, Any]], rules: Rules
) -> dict[str, str]:
    """The numbers at an end of what was tried for their field, where a value beyond it is valid.

    Args:
      chosen: field -> value.
      settings: all that were tried.
      rules: field -> which values are valid; any for a field without a rule.

    Returns:
      field -> "smallest" or "largest".
    """
    found = {}
    for field, value in chosen.items():
        values = {setting[field] for setting in settings}
        if isinstance(value, bool) or not isinstance(value, int | float) or len(values) < 2:
            continue
        for end, word, sign in ((min, "smallest", -1), (max, "largest", 1)):
            whole = isinstance(value, int)
            beyond = value + sign if whole else math.nextafter(value, sign * math.inf)
            if value == end(values) and (field not in rules or rules[field].allows(beyond)):
                found[field] = word
    return found


def render(rows: Sequence[Mapping[str, Any]]) -> str:
    """The settings as a Markdown table."""
    lines = []
    for row in rows:
        scores = [score for score in row["of_draws"] if score is not None]
        number = len(row["of_draws"])
        lines.append(
            [
                in_words(row["setting"]) or cells.GAP,
                cells.GAP if row[METRIC] is None else score(scores, count=False),
                str(number) if len(scores) == number else f"{len(scores)} of {number}",
                ", ".join(cells.GAP if step is None else str(step) for step in row["steps"]),
            ]
        )
    return table(("setting", "validation mAP", "n", "best step"), lines)


def in_words(setting: Mapping[str, Any], prefix: str = "") -> str:
    """A setting as overrides, `field=value`."""
    return " ".join(f"{prefix}{field}={value}" for field, value in setting.items())


def choice(
    config: str,
    runs: Sequence[Run],
    records: Mapping[str, Record],
    rows: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """What is written of a search, ready for JSON.

    Args:
      config: its file.
      runs, records: as for `tried`.
      rows: what that returns; the first is chosen.
    """
    chosen = next(run for run in runs if run.values == rows[0]["setting"])
    recipe = find_recipe(chosen.config)
    rules = {**FIELDS, **recipe.network.fields, **recipe.fields}
    kept = {f: v for f, v in flatten(as_dict(chosen.config)).items() if f not in FREE_FIELDS}
    return {
        "command": command_line(),
        "config": config,
        "num_bits": chosen.num_bits,
        "draws": sorted({run.draw for run in runs}),
        "chosen_by": "best validation mAP of a training, mean over the draws; no query was used",
        "num_validation": records[chosen.name]["num_validation"],
        "split_checksums": sorted({record["split_checksum"] for record in records.values()}),
        "chosen": rows[0]["setting"],
        "on_edge": on_edge(rows[0]["setting"], [row["setting"] for row in rows], rules),
        "tried": rows,
        "chosen_config": fields.nest(kept),
        "run": records[chosen.name]["run"],
    }
