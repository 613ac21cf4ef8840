"""Seconds from the command to the first finished training step: first run, and runs after it.

    python -m benchmarks.first_step [--config configs/digits_16bit_best.py] [--rounds 3]
        [--result FILE]

Every round starts from an empty compilation cache, runs `train.py` until it has written the
metrics of step 1, and then runs it once more. Import, data, compilation and the step are in it.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.results import write_result

ROOT = Path(__file__).resolve().parents[1]


def seconds_to_first_step(config: str, cache: Path, limit: float = 600.0) -> float:
    """Starts `train.py` in a new process and ends it once its first step is written.

    Args:
      config: the experiment's file.
      cache: the user's cache folder, where compiled programs are kept.
      limit: seconds after which there is no hope.

    Raises:
      RuntimeError: the process ended without a step, or passed the limit.
    """
    with tempfile.TemporaryDirectory() as folder:
        metrics, log = Path(folder) / "run" / "metrics.jsonl", Path(folder) / "log"
        began = time.monotonic()
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "train.py", f"--config={config}", f"--workdir={metrics.parent}",
                 "--config.log_every_steps=1"],
                cwd=ROOT, env=os.environ | {"XDG_CACHE_HOME": str(cache)},
                stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            while not (metrics.exists() and metrics.stat().st_size):
                if process.poll() is not None or time.monotonic() > began + limit:
                    raise RuntimeError(f"no first step:\n{log.read_text()}")
                time.sleep(0.01)
            return time.monotonic() - began
        finally:
            process.kill()
            process.wait()


def measure(config: str, *, rounds: int) -> dict[str, list[float]]:
    """Seconds of the first and of the second run, in each round."""
    seconds: dict[str, list[float]] = {"first run": [], "second run": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            for run in seconds.values():
                run.append(seconds_to_first_step(config, Path(cache)))
    return seconds


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--config", default="configs/digits_16bit_best.py")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    seconds = measure(args.config, rounds=args.rounds)
    figures = {name: f"{statistics.median(all_of):.1f} s" for name, all_of in seconds.items()}
    for name, figure in figures.items():
        print(f"{name:12}{figure}")
    title = f"From the command to the first step ({Path(args.config).stem})"
    write_result(args.result, title, figures, all_seconds=seconds)


if __name__ == "__main__":
    main()
