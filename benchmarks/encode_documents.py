"""Times encoding documents from tf-idf: `python -m benchmarks.encode_documents --data_dir DIR`.

Both hash functions at 32 bits, with initial weights (the time does not depend on them), compared
with SciPy's sparse product, which computes the same as the linear one. DIR holds
reuters21578.tar.gz; all its documents are encoded. All take turns, and on a CPU processor time is
measured, so that ratios hold on a busy machine too.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.encode_images import untrained
from benchmarks.results import write_result
from configs import shttm_neural_reuters_32bit, shttm_reuters_32bit
from dsh_jax import hamming
from dsh_jax.devices import compile_encode, pick_devices, replicate
from dsh_jax.forward import packed_bits, run_dataset
from dsh_jax.training.experiment import prepare


def best_seconds(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The best of `repeats` runs of each, in turns, after one that compiles."""
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    best = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        run()
    for _ in range(repeats):
        for name, run in runs.items():
            began = clock()
            run()
            best[name] = min(best[name], clock() - began)
    return best


def main() -> None:
    """Reads the flags, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data_dir", required=True, help="holds reuters21578.tar.gz")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--result", type=Path, help="also write a JSON file")
    options = parser.parse_args()
    config, neural = shttm_reuters_32bit.get_config(), shttm_neural_reuters_32bit.get_config()
    config.data.data_dir = options.data_dir
    experiment = prepare(config, Path("."))
    dataset, ids = experiment.dataset, np.arange(len(experiment.dataset))
    linear = untrained(config, experiment.signature)
    hidden = untrained(neural, experiment.signature)
    devices = pick_devices(0, {})
    compiled = compile_encode(experiment.method.network.encode, devices)
    stacked = replicate(linear.variables, devices)
    features = experiment.dataset.features(ids)
    kernel = np.random.default_rng(0).standard_normal((features.shape[1], config.num_bits))
    kernel = kernel.astype(np.float32)
    peer, one = "SciPy's sparse product, thresholded and packed", "linear (SHTTM)"
    runs: dict[str, Callable[[], Any]] = {
        peer: lambda: hamming.pack((features @ kernel > 0).astype(np.uint8)),
        one: lambda: linear.encode_dataset(dataset, ids, finish=packed_bits),
        "linear, in padded rows as on a GPU": lambda: run_dataset(
            compiled, stacked, dataset, ids, devices=devices,
            batch_size=config.encode_batch_size * len(devices),
        ),
        "one hidden layer of 512 (neural SHTTM)":
            lambda: hidden.encode_dataset(dataset, ids, finish=packed_bits),
    }  # fmt: skip
    seconds = best_seconds(runs, options.repeats)
    figures = {
        f"{len(ids):,} documents, {name}": f"{len(ids) / spent:,.0f} documents/s"
        + f"; {spent / seconds[peer]:.1f} x the time of SciPy's product" * (name != peer)
        for name, spent in seconds.items()
    }
    width = max(map(len, figures))
    for label, text in figures.items():
        print(f"{label:{width}}  {text}")
    write_result(options.result, "Encoding documents", figures)


if __name__ == "__main__":
    main()
