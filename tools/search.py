"""Tunes a config on validation mAP alone; the queries are never evaluated.

    python -m tools.search --config configs/digits_16bit.py --draws 1 \\
      --set optimizer.hash.learning_rate=0.001,0.002,0.004 --set loss.weights.triplet=0.1,0.2,0.4 \\
      --out runs/tune --result results/choice/digits.json

Trains every combination and writes all of them, the best first, and which is chosen: the highest
best validation mAP of a training, in the mean over the draws. Run the same command again to resume
it. The exit code is 1 if a run died; its setting cannot be chosen.

    python -m tools.search --config configs/digits_16bit.py \\
      --walk optimizer.hash.learning_rate,loss.weights.triplet --out runs/tune

starts from the config's own values instead and walks to the next lower and higher ones, 1, 2 and 5
times powers of ten, for as long as the score rises: what it ends at has both neighbours beside it.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dsh_jax import fields
from dsh_jax.checkpoints import METRIC
from dsh_jax.cli import read_config
from dsh_jax.errors import UserError
from dsh_jax.files import read_json, write_json
from tools import choice, grid, pattern_search, processes
from tools.grid import Run
from tools.pattern_search import Axis, Decades, Doubled


def record_path(out: Path, run: Run) -> Path:
    """The file that says how a finished training did on its validation items."""
    return out / "validation" / f"{run.name}.json"


def work(out: Path, run: Run) -> str:
    """Trains a run unless that is done; returns words about it.

    Raises:
      Died: the training failed.
    """
    workdir, path = out / run.name, record_path(out, run)
    before = grid.check_done(run, workdir, path)
    if not before:
        log = out / "logs" / f"{run.name}.log"
        processes.call(["train.py", *run.arguments, f"--workdir={workdir}"], log)
        write_json(path, choice.record_of(workdir))
    score = read_json(path)[METRIC]
    return f"validation mAP {score:.4f}{', finished before' if before else ''}"


def train(out: Path, runs: Sequence[Run]) -> tuple[dict[str, choice.Record], bool]:
    """Trains runs; returns name -> record of those that have one, and whether all have."""
    for run in runs:
        grid.check_done(run, out / run.name, record_path(out, run))
    whole = processes.one_by_one([(run.name, partial(work, out, run)) for run in runs])
    paths = {run.name: record_path(out, run) for run in runs}
    return {name: read_json(path) for name, path in paths.items() if path.exists()}, whole


def axes_of(options: Any) -> tuple[dict[str, Any], dict[str, Axis]]:
    """Where `--walk` starts, the config's own values, and the values of each field.

    Raises:
      UserError: a field is not a positive number.
    """
    config = read_config(options.config, options.overrides)
    names = grid.values_of(options.walk, "--walk")
    start = {field: fields.get(config, field) for field in names}
    for field, value in start.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise UserError(
                f"--walk names {field}, which is {value!r}; it walks from positive numbers. "
                "Give other values by --set."
            )
    return start, {f: Doubled() if isinstance(v, int) else Decades((1, 2, 5))
                   for f, v in start.items()}  # fmt: skip


def walk(options: Any, bits: Sequence[int]) -> tuple[list[Run], dict[str, choice.Record], bool]:
    """Trains what `--walk` asks for; returns all runs, their records, and whether all have one."""
    start, axes = axes_of(options)
    every: dict[str, Run] = {}
    records: dict[str, choice.Record] = {}

    def score(setting: pattern_search.Setting) -> float:
        texts = [f"{field}={value}" for field, value in setting.items()]
        runs = grid.runs_of(options, bits, grid.settings(texts))
        every.update({run.name: run for run in runs})
        records.update(train(options.out, runs)[0])
        found = choice.tried(runs, records)[0][METRIC]
        return -1.0 if found is None else found

    pattern_search.search(start, axes, score)
    return list(every.values()), records, len(records) == len(every)


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the options and does the runs; returns the exit code."""
    parser = grid.Parser(str(__doc__), draws=1, out="runs/search_")
    parser.add_argument("--bits", help="the code length (the config's own)")
    parser.add_argument("--walk", metavar="FIELD,FIELD", help="fields to walk along, without --set")
    parser.add_argument("--result", type=Path, help="file of the choice (OUT/choice.json)")
    options = parser.parse(arguments)
    if bool(options.set) == bool(options.walk):
        raise UserError(
            "give either --set, the values to choose from, as in --set field=1,2, or --walk, as in "
            "--walk field."
        )
    bits = [] if options.bits is None else grid.integers(options.bits, "--bits", most=1)
    if options.walk:
        runs, records, whole = walk(options, bits)
    else:
        runs = grid.runs_of(options, bits)
        records, whole = train(options.out, runs)
    rows = choice.tried(runs, records)
    print(f"\n{choice.render(rows)}\n")
    if rows[0][METRIC] is None:
        print("Nothing is chosen: no setting has a score on every draw.", file=sys.stderr)
        return 1
    result = choice.choice(options.config, runs, records, rows)
    path = options.result or options.out / "choice.json"
    write_json(path, result)
    print(f"Chosen: {choice.in_words(result['chosen'], '--config.')}\nAll settings: {path}")
    for field, end in result["on_edge"].items():
        print(
            f"warning: {field}={result['chosen'][field]} is the {end} value tried, and an optimum "
            "at the edge of a grid is not an optimum; try values beyond it.", file=sys.stderr,
        )  # fmt: skip
    if len({commit for row in rows for commit in row["commits"]}) > 1:
        print("warning: the runs are of several commits, see `tried`.", file=sys.stderr)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(processes.guarded(main))
