"""How time and memory grow with sizes.

    python -m benchmarks.growth steps --result results/speed/growth_steps.json
    python -m benchmarks.growth evaluation --result results/speed/growth_evaluation.json

A joint step of DSH-GANs against batch size, code length, classes and width, and an evaluation
against database size and queries. Each series changes one number of a base. Times are processor
time, the fewest of several, so that other programs disturb them little, and are shown relative to
the first of a series. Each evaluation runs in a process of its own, because the peak memory of a
process never falls.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from tqdm import tqdm

from benchmarks.evaluate import problem
from benchmarks.held import arrays_of, our_step
from benchmarks.results import write_result
from configs import cifar10_48bit_cpu
from dsh_jax.retrieval.metrics import evaluate

Series = dict[str, list[dict[str, float]]]
STEPS = 5  # timed, after the one that compiles; the fewest seconds count
BASE = {"batch size": 32, "bits": 48, "classes": 10, "width": 16}
STEP_SERIES = {
    "batch size": (16, 32, 64, 128), "bits": (12, 24, 48, 96, 192),
    "classes": (10, 100, 1000, 10_000), "width": (8, 16, 32, 64),
}  # fmt: skip
NUM_BITS = 64
EVALUATION_SERIES = {
    "database items": ((1000, 10_000), (1000, 100_000), (1000, 1_000_000), (1000, 10_000_000)),
    "queries": ((100, 1_000_000), (1000, 1_000_000), (10_000, 1_000_000)),
}
"""Numbers of queries and of items in the database."""


def step_config(sizes: dict[str, int]) -> ConfigDict:
    """DSH-GANs of the CPU size, with the numbers of `BASE` or others."""
    config = cifar10_48bit_cpu.get_config()
    config.batch_size = config.unlabeled_batch_size = sizes["batch size"]
    config.num_bits = sizes["bits"]
    config.representation.width = config.generator.width = sizes["width"]
    return config


def step_seconds(sizes: dict[str, int]) -> float:
    """Processor time of a step."""
    config = step_config(sizes)
    batch = arrays_of(config, config.unlabeled_batch_size, num_classes=sizes["classes"])
    del batch["target"]
    run = our_step(config, batch)
    run()
    return min(processor_seconds(run) for _ in range(STEPS))


def processor_seconds(run: Callable[[], Any]) -> float:
    """Of all threads of this process."""
    began = time.process_time()
    run()
    return time.process_time() - began


def evaluation(num_queries: int, num_database: int) -> dict[str, float]:
    """Processor time of an evaluation, and its peak bytes above those held before it (Linux)."""
    arguments = problem(num_queries, num_database, NUM_BITS)
    for small in ((10, 1000), (1000, 50_000)):  # what loads at the first call, of either kernel
        evaluate(*problem(*small, NUM_BITS), num_bits=NUM_BITS)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of making the inputs
    before = resident("VmRSS")
    seconds = processor_seconds(lambda: evaluate(*arguments, num_bits=NUM_BITS))
    return {"seconds": seconds, "bytes": resident("VmHWM") - before}


def resident(name: str) -> int:
    """Bytes of this process in memory: "VmRSS" now, "VmHWM" at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def in_process(num_queries: int, num_database: int) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.growth", "--one", f"{num_queries},{num_database}"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def measure_steps() -> Series:
    """Series -> its points: `at` and `seconds`."""
    series: Series = {}
    steps = [(name, at) for name, values in STEP_SERIES.items() for at in values]
    for name, at in tqdm(steps, unit="step"):
        seconds = step_seconds({**BASE, name: at})
        series.setdefault(f"step, {name}", []).append({"at": at, "seconds": seconds})
    return series


def measure_evaluation() -> Series:
    """Series -> its points: `at`, `seconds` and `bytes`."""
    return {
        f"evaluation, {name}": [
            {"at": items if name == "database items" else queries, **in_process(queries, items)}
            for queries, items in tqdm(sizes, unit="evaluation")
        ]
        for name, sizes in EVALUATION_SERIES.items()
    }


def figures(series: Series) -> dict[str, str]:
    """In words, each series relative to its first point."""
    shown = {}
    if any(name.startswith("step") for name in series):
        shown["base of the steps"] = ", ".join(f"{name} {at}" for name, at in BASE.items())
    for name, points in series.items():
        first = points[0]
        shown[f"{name}: processor time"] = ", ".join(
            f"{p['at']:,}: {p['seconds'] / first['seconds']:.2f} x" for p in points
        )
        if "bytes" in first:
            shown[f"{name}: peak memory above that held before"] = ", ".join(
                f"{p['at']:,}: {p['bytes'] / 2**20:,.0f} MiB" for p in points
            )
    return shown


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("part", choices=["steps", "evaluation"], nargs="?", default="steps")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help="also write the figures to this JSON file")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(evaluation(*map(int, options.one.split(",")))))
        return
    series = measure_steps() if options.part == "steps" else measure_evaluation()
    shown = figures(series)
    for name, value in shown.items():
        print(f"{name:55} {value}")
    write_result(options.result, f"Growth ({options.part})", shown, series=series)


if __name__ == "__main__":
    main()
