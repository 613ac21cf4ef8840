"""Evaluations beside a training that saves at every step: none of them fails."""

import random
import time

from tools.attack.report import Report
from tools.attack.runs import Fault, Run, Scratch, evaluate


def attack(scratch: Scratch, rng: random.Random, scale: float, report: Report) -> None:
    """Evaluates a workdir 100 times while it is trained."""
    workdir = scratch / "evals"
    endless = ("eval_every_steps=1", "num_steps=1000000")
    training = Run(scratch.train("control", workdir, *endless), scratch / "evals_training")
    try:
        began = time.monotonic()
        while not list(workdir.glob("checkpoints/[0-9]*/_CHECKPOINT_METADATA")):
            if not training.running or time.monotonic() - began > 200:
                raise Fault(f"the training wrote no checkpoint: {training.errors[-300:]!r}")
            time.sleep(0.2)
        for number in range(round(100 * scale)):
            time.sleep(rng.uniform(0, 0.2))
            with report.trial(f"evaluation {number}"):
                Run(evaluate(workdir), scratch / "evaluation").succeed()
                if not training.running:
                    raise Fault(f"the training ended: {training.errors[-300:]!r}")
    finally:
        training.kill()
