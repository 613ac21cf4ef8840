"""Two trainings started on one workdir: one trains, the other is refused in one sentence."""

import random
import shutil
import time

from tools.attack.report import Report
from tools.attack.runs import Fault, Run, Scratch, check_same, in_fork, outcome


def attack(scratch: Scratch, rng: random.Random, scale: float, report: Report) -> None:
    """Starts 100 pairs, the second within a second of the first."""
    cases = ("control", "shttm", "shttm")
    wanted = {
        case: in_fork(outcome, scratch.train(case, scratch / f"pairs_{case}"))
        for case in sorted(set(cases))
    }
    for number in range(round(100 * scale)):
        case, workdir = cases[number % len(cases)], scratch / f"pairs_{number}"
        command = scratch.train(case, workdir)
        delay = rng.choice([0.0, rng.uniform(0, 1)])
        with report.trial(f"two of {case}, {delay:.2f} s apart"):
            first = Run(command, scratch / "first")
            time.sleep(delay)
            second = Run(command, scratch / "second")
            report.outcomes[_ending(first, second)] += 1
            check_same(in_fork(outcome, command), wanted[case])
        shutil.rmtree(workdir, ignore_errors=True)


def _ending(first: Run, second: Run) -> str:
    codes = sorted((first.wait(), second.wait()))
    if codes == [0, 2]:
        refused = second if second.wait() else first
        if refused.sentence() is None:
            raise Fault(f"no sentence: {refused.errors[-300:]!r}")
        return "refused"
    # Not a race if the second began after the first had ended.
    if codes == [0, 0] and any("starting at 8" in run.errors or "already" in run.errors
                               for run in (first, second)):  # fmt: skip
        return "in turn"
    last = " | ".join(run.errors[-150:] for run in (first, second))
    raise Fault(f"exit codes {codes}, where one should be refused: {last!r}")
