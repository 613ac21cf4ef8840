"""A long training with many checkpoints: its memory does not grow after the first quarter."""

import json
import random
import time
from pathlib import Path

from tools.attack.report import Report
from tools.attack.runs import Fault, Run, Scratch

STEPS, EVERY = 20_000, 10
GROWTH = 0.05


def attack(scratch: Scratch, rng: random.Random, scale: float, report: Report) -> None:
    """Trains for 20,000 steps with a checkpoint at every tenth."""
    del rng
    steps = round(STEPS * scale)
    workdir = scratch / "memory"
    overrides = (f"num_steps={steps}", f"eval_every_steps={EVERY}", f"log_every_steps={EVERY}")
    with report.trial(f"{steps:,} steps"):
        training = Run(scratch.train("control", workdir, *overrides), scratch / "memory_run")
        quarter, latest = 0, 0
        while training.running:
            step, own = last_step(workdir / "metrics.jsonl"), own_bytes(training.pid)
            latest = own or latest
            if step >= steps / 4 and not quarter:
                quarter = latest
            print(f"memory: step {step:,}, {latest / 1e6:,.1f} MB", flush=True)
            time.sleep(10)
        if code := training.wait():
            raise Fault(f"exit code {code}: {training.errors[-300:]!r}")
        report.outcomes[f"MB after a quarter: {quarter / 1e6:,.0f}, at the end:"] = latest // 10**6
        if not quarter or latest > quarter * (1 + GROWTH):
            raise Fault(f"from {quarter / 1e6:,.0f} MB after a quarter to {latest / 1e6:,.0f} MB")


def last_step(metrics: Path) -> int:
    """The step of the last whole line; 0 where there is none."""
    if not metrics.exists():
        return 0
    with metrics.open("rb") as file:
        file.seek(max(0, metrics.stat().st_size - 10_000))
        lines = file.read().split(b"\n")
    return int(json.loads(lines[-2])["step"]) if len(lines) > 1 else 0


def own_bytes(pid: int) -> int:
    """A process's own memory, resident or swapped out; 0 if it has ended.

    Pages of mapped files are left out: the system drops and reads them again as it likes.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines
               if line.startswith(("RssAnon:", "VmSwap:")))  # fmt: skip
