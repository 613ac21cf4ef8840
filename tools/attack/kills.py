"""Kills at random moments: run again, a command ends as if it had never been killed."""

import random
import shutil
import time
from pathlib import Path

from tools.attack.config import CASES
from tools.attack.report import Report
from tools.attack.runs import (
    Fault,
    Run,
    Scratch,
    check_same,
    evaluate,
    evaluated,
    in_fork,
    outcome,
)


def attack(scratch: Scratch, rng: random.Random, scale: float, report: Report) -> None:
    """Kills trainings of all methods, and evaluations, 50 times in all."""
    wanted, seconds = {}, {}
    for case in CASES:
        wanted[case] = in_fork(outcome, scratch.train(case, scratch / f"kills_{case}"))
        began = time.monotonic()  # now that everything is compiled
        Run(scratch.train(case, scratch / f"kills_{case}_timed"), scratch / "kills").succeed()
        seconds[case] = time.monotonic() - began
        print(f"kills: {case} takes {seconds[case]:.1f} s", flush=True)
    began = time.monotonic()
    Run(evaluate(scratch / "kills_control"), scratch / "kills").succeed()
    seconds["eval.py"] = time.monotonic() - began
    jobs = [(*CASES, "eval.py")[number % (len(CASES) + 1)] for number in range(round(50 * scale))]
    for number, case in enumerate(jobs):
        moment = rng.uniform(0, seconds[case])
        workdir = scratch / f"kills_{number}"
        with report.trial(f"{case} killed after {moment:.2f} s"):
            if case == "eval.py":
                _kill_evaluation(scratch, workdir, moment, wanted["control"])
            else:
                _kill_training(scratch, case, workdir, moment, wanted[case])
        shutil.rmtree(workdir, ignore_errors=True)


def _kill(command: list[str], output: Path, moment: float) -> None:
    run = Run(command, output)
    time.sleep(moment)
    if not run.kill() and run.wait():
        raise Fault(f"exit code {run.wait()} before it was killed: {run.errors[-300:]!r}")


def _kill_training(
    scratch: Scratch, case: str, workdir: Path, moment: float, wanted: dict[str, str]
) -> None:
    command = scratch.train(case, workdir)
    _kill(command, scratch / "kills", moment)
    check_same(in_fork(outcome, command), wanted)


def _kill_evaluation(
    scratch: Scratch, workdir: Path, moment: float, wanted: dict[str, str]
) -> None:
    shutil.copytree(scratch / "kills_control", workdir)
    for name in ("eval.json", "codes.npz"):
        (workdir / name).unlink()
    _kill(evaluate(workdir), scratch / "kills", moment)
    Run(evaluate(workdir), scratch / "kills").succeed()
    found = evaluated(workdir)
    check_same(found, {name: wanted[name] for name in found})
    left = [path.name for path in workdir.glob(".*.tmp")]
    if len(left) > 1:
        raise Fault(f"files are left: {left}")
