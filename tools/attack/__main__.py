"""`python -m tools.attack [--only kills,flips,...] [--seed 0] [--scale 1.0]`, or `make attack`.

Prints a table; the exit code is 1 if anything went wrong.
"""

import argparse
import importlib
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from tools.attack.report import HEADER, Report
from tools.attack.runs import Scratch

PARTS = ("kills", "flips", "pairs", "evals", "fuzz", "indexes", "hosts")
ALONE = ("memory",)  # takes long, and runs only if it is named
AT_ONCE = 2  # parts; each waits for processes of its own


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.attack", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help=", ".join((*PARTS, *ALONE)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the number of trials")
    options = parser.parse_args()
    parts = options.only.split(",")
    for part in parts:
        if part not in (*PARTS, *ALONE):
            parser.error(f"--only is {part!r}; name some of {', '.join((*PARTS, *ALONE))}")
    print(f"seed {options.seed}, scale {options.scale:g}", flush=True)
    scratch = Scratch()

    def run(part: str) -> Report:
        report = Report(part)
        rng = random.Random(f"{options.seed} {part}")
        attack = importlib.import_module(f"tools.attack.{part}").attack
        try:
            attack(scratch, rng, options.scale, report)
        except Exception as error:
            report.fault(f"it could not go on: {type(error).__name__}: {error}")
        if not report.trials:
            report.fault("nothing was tried")
        report.seconds = time.monotonic() - report.began
        return report

    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            reports = list(pool.map(run, parts))
    finally:
        scratch.remove()
    print("\n".join(["", HEADER, *(report.row() for report in reports)]))
    sys.exit(any(report.faults for report in reports))


if __name__ == "__main__":
    main()
