"""Two processes that train together, of which one is killed or asked to stop at a random moment.

Both must end in good order; run again, by two or by one, the training goes on.
"""

import os
import random
import shutil
import signal
import time
from pathlib import Path

from dsh_jax.joining import free_address
from tools.attack.report import Report
from tools.attack.runs import Fault, Run, Scratch

SECONDS = 100.0
"""Within which a process ends whose companion is gone; before it is joined, it waits a minute."""


def attack(scratch: Scratch, rng: random.Random, scale: float, report: Report) -> None:
    """Kills or stops one of two processes, ten times in all."""
    began = time.monotonic()
    for run in _pair(scratch, scratch / "hosts_timed"):
        run.succeed()
    usual = time.monotonic() - began
    for number in range(round(10 * scale)):
        victim, moment = number % 2, rng.uniform(0, usual)
        kind = rng.choice([signal.SIGKILL, signal.SIGTERM])
        workdir = scratch / f"hosts_{number}"
        with report.trial(f"{kind.name} to process {victim} after {moment:.1f} s"):
            both = _pair(scratch, workdir)
            time.sleep(moment)
            if both[victim].running:
                os.kill(both[victim].pid, kind)
            report.outcomes[_ending(both, victim, kind)] += 1
            again = _pair(scratch, workdir) if number % 4 < 2 else [
                Run(scratch.train("dsh_gan", workdir), scratch / "hosts_alone")
            ]  # fmt: skip
            for run in again:
                run.succeed()
        shutil.rmtree(workdir, ignore_errors=True)


def _pair(scratch: Scratch, workdir: Path) -> list[Run]:
    flags = ["--config.distributed=True", f"--coordinator={free_address()}", "--num_processes=2"]
    command = scratch.train("dsh_gan", workdir) + flags
    return [Run([*command, f"--process_id={number}"], scratch / f"hosts_process_{number}")
            for number in range(2)]  # fmt: skip


def _ending(both: list[Run], victim: int, kind: signal.Signals) -> str:
    ends = time.monotonic() + SECONDS
    while any(run.running for run in both) and time.monotonic() < ends:
        time.sleep(0.1)
    if any(run.running for run in both):
        raise Fault(f"it still ran after {SECONDS:.0f} s")
    codes = [run.wait() for run in both]
    if codes == [0, 0]:
        return "stopped" if "stopped at" in both[victim].errors else "finished"
    other = both[1 - victim]
    # SIGTERM ends a process at once before it has joined the other one.
    if codes[victim] in (-kind, 2) and codes[1 - victim] == 2 and "error: " in other.errors:
        return "ended"
    raise Fault(f"exit codes {codes}: {other.errors[-300:]!r}")
