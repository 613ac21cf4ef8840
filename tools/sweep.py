"""Trains and evaluates a config over code lengths, draws and settings, and tabulates the scores.

    python -m tools.sweep --config configs/digits_16bit.py --bits 8,16,32 --draws 3 \\
      --set triplets=synthetic,real --baselines itq,classifier --out runs/digits

Run the same command again to resume it: what is finished is skipped. The exit code is 1 if a run
died; the table then has a gap. OUT gets a workdir for each run, `results/` (as `eval.py --result`
writes them), `logs/`, `table.md` and `map.png`.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from dsh_jax.baselines import BASELINES, OF_NETWORK, UNTRAINED
from dsh_jax.errors import UserError
from dsh_jax.files import replacing
from dsh_jax.report.groups import READ_WITHOUT_TRAINING
from dsh_jax.retrieval.conventions import parse
from tools import grid, processes, sweep_table
from tools.grid import Run, Setting
from tools.sweep_table import Cell
from tools.tables import read_json


def result_path(out: Path, run: Run, baseline: str = "") -> Path:
    """The file of a run's scores, or of those of a baseline on its split."""
    return out / "results" / f"{run.name}{'_' * bool(baseline)}{baseline}.json"


def work(out: Path, run: Run, baselines: Sequence[str], conventions: str) -> str:
    """Trains and evaluates a run, as far as that is not done yet; returns words about it.

    Raises:
      Died: a command failed.
    """
    workdir, log = out / run.name, out / "logs" / f"{run.name}.log"
    whole = grid.check_done(run, workdir, result_path(out, run))
    missing = [name for name in ("", *baselines) if not result_path(out, run, name).exists()]
    if not whole:
        processes.call(["train.py", *run.arguments, f"--workdir={workdir}"], log)
    died = []
    for baseline in missing:
        options = [f"--baseline={baseline}"] if baseline else []
        result = f"--result={result_path(out, run, baseline)}"
        command = ["eval.py", f"--workdir={workdir}", *options, f"--conventions={conventions}"]
        try:
            processes.call([*command, result], log)
        except processes.Died as error:  # the other baselines may do
            died.append(f"{baseline} {error}".lstrip())
    if died:
        raise processes.Died("; ".join(died))
    score = read_json(result_path(out, run), "delete it")["map"]
    return f"mAP {score:.3f}" if missing else f"mAP {score:.3f}, finished before"


def baselines_of(runs: Sequence[Run], names: Sequence[str]) -> dict[str, list[str]]:
    """The baselines to evaluate with each run, by its name."""
    seen, chosen = set(), {}
    for run in runs:
        key = (unsupervised_setting(run.setting), run.num_bits, run.draw)
        chosen[run.name] = [x for x in names if x in OF_NETWORK or key not in seen]
        seen.add(key)
    return chosen


def unsupervised_setting(setting: Setting) -> Setting:
    """The part of a setting that baselines without training depend on."""
    return tuple(pair for pair in setting if pair[0].startswith(READ_WITHOUT_TRAINING))


def check_rules(out: Path, conventions: str) -> None:
    """Refuses a folder of results that were measured otherwise than they would be now.

    Raises:
      UserError: unknown conventions, or a result with other rules; names its file.
    """
    try:
        wanted = parse(conventions).rules
    except ValueError as error:
        raise UserError(f"--{error}") from error
    for path in sorted(out.glob("results/*.json")):
        content = read_json(path, "delete it, to evaluate again")
        if not isinstance(content, dict) or content.get("rules") != wanted:
            found = content.get("conventions") if isinstance(content, dict) else "?"
            raise UserError(
                f"{path} was measured by the conventions {found}, not by "
                f"{parse(conventions).name}; choose another --out, or its conventions."
            )


def cells_of(out: Path, runs: Sequence[Run], baselines: dict[str, list[str]]) -> list[Cell]:
    """What was measured, over the draws of each setting, code length and kind of codes."""
    found: dict[tuple[Setting, str, int], list[Path]] = {}
    for run in runs:
        for name in ("", *baselines[run.name]):
            learns = name not in UNTRAINED
            setting = run.setting if learns else unsupervised_setting(run.setting)
            key = setting, name, run.num_bits
            found.setdefault(key, []).append(result_path(out, run, name))
    lines = list(dict.fromkeys((setting, name) for setting, name, _ in found))
    return [
        Cell(
            setting=setting,
            baseline=name,
            num_bits=num_bits,
            asked=len(paths),
            contents=[read_json(path, "delete it") for path in paths if path.exists()],
        )
        for (setting, name, num_bits), paths in sorted(
            found.items(), key=lambda item: (lines.index(item[0][:2]), item[0][2])
        )
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the options and does the runs; returns the exit code."""
    parser = grid.Parser(str(__doc__), draws=3, out="runs/sweep_")
    parser.add_argument("--bits", help="code lengths, as in 12,24,48 (the config's own)")
    parser.add_argument("--baselines", help=f"some of {','.join(BASELINES)}")
    parser.add_argument("--conventions", default="expected", help="as for eval.py")
    options = parser.parse(arguments)
    bits = [] if options.bits is None else grid.integers(options.bits, "--bits")
    named = options.baselines
    names = [] if named is None else grid.values_of(named, "--baselines")
    for name in names:
        if name not in BASELINES:
            raise UserError(f"--baselines has {name!r}; give some of {', '.join(BASELINES)}.")
    runs, out = grid.runs_of(options, bits), options.out
    baselines = baselines_of(runs, names)
    check_rules(out, options.conventions)
    for run in runs:
        grid.check_done(run, out / run.name, result_path(out, run))
    jobs = [
        (run.name, partial(work, out, run, baselines[run.name], options.conventions))
        for run in runs
    ]
    whole = processes.one_by_one(jobs)
    found = cells_of(out, runs, baselines)
    text = sweep_table.render(found)
    with replacing(out / "table.md") as beside:
        beside.write_text(text + "\n")
    contents = [content for cell in found for content in cell.contents]
    if contents:
        with replacing(out / "map.png") as beside:
            sweep_table.plot(found).savefig(beside, format="png", dpi=100)
    print(f"\n{text}\n\nAlso in {out}: table.md, map.png, results/")
    # Codes without training have no run.
    if len({content["run"]["commit"] for content in contents if content["run"]}) > 1:
        print("warning: the results are of several commits.", file=sys.stderr)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(processes.guarded(main))
