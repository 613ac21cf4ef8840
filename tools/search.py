"""Tunes a config on validation mAP alone; the queries are never evaluated.

    python -m tools.search --config configs/digits_16bit.py --draws 1 \\
      --set optimizer.hash.learning_rate=0.001,0.002,0.004 --set loss.weights.triplet=0.1,0.2,0.4 \\
      --out runs/tune --result results/choice/digits.json

Trains every combination and writes all of them, the best first, and which is chosen: the highest
best validation mAP of a training, in the mean over the draws. Run the same command again to resume
it. The exit code is 1 if a run died; its setting cannot be chosen.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from dsh_jax.checkpoints import METRIC
from dsh_jax.errors import UserError
from dsh_jax.files import read_json, write_json
from tools import choice, grid, processes
from tools.grid import Run


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the options and does the runs; returns the exit code."""
    parser = grid.Parser(str(__doc__), draws=1, out="runs/search_")
    parser.add_argument("--bits", help="the code length (the config's own)")
    parser.add_argument("--result", type=Path, help="file of the choice (OUT/choice.json)")
    options = parser.parse(arguments)
    if not options.set:
        raise UserError("--set is missing; give the values to choose from, as in --set field=1,2.")
    bits = [] if options.bits is None else grid.integers(options.bits, "--bits", most=1)
    runs, out = grid.runs_of(options, bits), options.out
    for run in runs:
        grid.check_done(run, out / run.name, record_path(out, run))
    whole = processes.one_by_one([(run.name, partial(work, out, run)) for run in runs])
    paths = {run.name: record_path(out, run) for run in runs}
    records = {name: read_json(path) for name, path in paths.items() if path.exists()}
    rows = choice.tried(runs, records)
    print(f"\n{choice.render(rows)}\n")
    if rows[0][METRIC] is None:
        print("Nothing is chosen: no setting has a score on every draw.", file=sys.stderr)
        return 1
    result = choice.choice(options.config, runs, records, rows)
    path = options.result or out / "choice.json"
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
