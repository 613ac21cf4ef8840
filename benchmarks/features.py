"""Times an epoch over vectors that are read from their file: `python -m benchmarks.features`.

A file of random vectors is written, read once from first to last, and trained on for one epoch in
random order; the steps alone are those of the same training on one batch that is on the device
already. Each is measured in a process of its own, in the time of its processors, all threads
together: what others do on the machine does not count, and reading beside the steps saves nothing.
The file is in the system's cache of files, because every training reads it once to check it; a file
that is larger than free memory is read at the disk's speed. Peak memory is that of
/proc/self/status.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.results import write_result
from benchmarks.streaming import peak_memory
from configs import features
from dsh_jax.devices import Batch, compile_step, replicate
from dsh_jax.training.experiment import prepare
from dsh_jax.training.trainer import stage_batches

CLASSES = 10
BATCH = 256
WARM_UP = 20  # steps
BLOCK = 2**23  # bytes read at a time
WAYS = ("read", "steps", "epoch")


def write_vectors(folder: Path, count: int, width: int) -> None:
    """Writes random vectors and labels, block by block."""
    rng = np.random.default_rng(0)
    shape = (count, width)
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, shape)
    for first in range(0, count, 2**14):
        part = vectors[first : first + 2**14]
        part[:] = rng.standard_normal(part.shape, np.float32)
    vectors.flush()
    np.save(folder / "labels.npy", np.arange(count) % CLASSES)


def config_of(folder: Path) -> ConfigDict:
    """The network alone, on labeled vectors from their file."""
    config = features.get_config()
    config.update(gan=False, triplets="none", batch_size=BATCH, num_steps=10**6)
    config.data.root = str(folder)
    config.data.memory_limit_gb = 0.0
    return config


def read(folder: Path) -> float:
    """Processor seconds to read the file once, from first to last."""
    began = time.process_time()
    with (folder / "vectors.npy").open("rb", buffering=0) as file:
        while file.read(BLOCK):
            pass
    return time.process_time() - began


def train(folder: Path, way: str) -> tuple[float, float]:
    """Processor seconds of the steps of an epoch, and of everything before them."""
    began = time.process_time()
    experiment = prepare(config_of(folder), None)
    (stage,) = experiment.method.stages
    steps = -(-len(experiment.split.labeled) // BATCH)
    state = jax.jit(experiment.method.init)(jax.random.key(0))
    stacked = replicate(state, experiment.devices)
    step_fn = compile_step(stage.step, 0, experiment.devices)
    before = time.process_time() - began
    batches: Iterator[Batch] = stage_batches(experiment, stage, range(WARM_UP + steps))
    for _ in range(WARM_UP):
        batch = next(batches)
        stacked, _ = step_fn(stacked, batch)
    jax.block_until_ready(stacked)
    began = time.process_time()
    for number in range(steps):
        batch = next(batches) if way == "epoch" else batch
        stacked, _ = step_fn(stacked, batch)
        if number % 4 == 0:
            jax.block_until_ready(stacked)
    jax.block_until_ready(stacked)
    return time.process_time() - began, before


def measure(way: str, folder: Path) -> dict[str, float]:
    """Processor seconds of one way, and peak memory in MB."""
    seconds, before = (read(folder), 0.0) if way == "read" else train(folder, way)
    return {"seconds": seconds, "before": before, "memory": peak_memory() / 1e6}


def measure_apart(way: str, folder: Path) -> dict[str, float]:
    """As `measure`, in a separate process."""
    command = [sys.executable, "-m", "benchmarks.features", "--way", way, "--path", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(count: int, width: int, folder: Path, rounds: int) -> dict[str, str]:
    """All figures: description -> figure."""
    write_vectors(folder, count, width)
    measured = [{way: measure_apart(way, folder) for way in WAYS} for _ in range(rounds)]
    best = {way: min(figures[way]["seconds"] for figures in measured) for way in WAYS}
    memory = max(figures["epoch"]["memory"] for figures in measured)
    before = min(figures["epoch"]["before"] for figures in measured)
    size = f"{count:,} vectors of {width} numbers ({4 * count * width / 1e9:.2f} GB)"
    return {
        f"reading a file of {size} once": f"{best['read']:.2f} s of processor time",
        f"the steps of an epoch alone, {BATCH} vectors each": f"{best['steps']:.1f} s",
        "an epoch in random order, read from the file": f"{best['epoch']:.1f} s;"
        f" {best['epoch'] / (best['read'] + best['steps']):.2f} x reading once and the steps",
        "checking the file, drawing the split and compiling, before the epoch": f"{before:.1f} s",
        "peak memory of the process of the epoch": f"{memory:,.0f} MB",
    }


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3, help="of which the best counts")
    parser.add_argument("--way", choices=WAYS, help="measure only this, and print JSON")
    parser.add_argument("--path", type=Path, help="what to measure it on")
    parser.add_argument("--result", default="", help="also write the figures to this JSON file")
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.way, options.path)))
        return
    with tempfile.TemporaryDirectory() as folder:
        shown = compare(options.vectors, options.width, Path(folder), options.rounds)
    for name, value in shown.items():
        print(f"{name}\n    {value}")
    write_result(options.result, "Vectors from a file", shown)


if __name__ == "__main__":
    main()
