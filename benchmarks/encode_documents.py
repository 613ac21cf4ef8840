"""Times encoding documents from tf-idf: `python -m benchmarks.encode_documents --data_dir DIR`.

Both hash functions at 32 bits, with initial weights (the time does not depend on them), compared
with SciPy's sparse product, which computes the same as the linear one. DIR holds
reuters21578.tar.gz; all its documents are encoded.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from benchmarks.encode_images import untrained
from configs import shttm_neural_reuters_32bit, shttm_reuters_32bit
from dsh_jax import hamming
from dsh_jax.files import write_json
from dsh_jax.forward import packed_bits
from dsh_jax.training import workdir
from dsh_jax.training.experiment import prepare


def documents_per_second(run: Callable[[], Any], num_documents: int, repeats: int) -> float:
    """The best of `repeats` runs, after one that compiles."""
    run()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return num_documents / min(times)


def main() -> None:
    """Reads the flags, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data_dir", required=True, help="holds reuters21578.tar.gz")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--result", type=Path, help="also write a JSON file")
    options = parser.parse_args()
    configs: dict[str, ConfigDict] = {
        "linear (SHTTM)": shttm_reuters_32bit.get_config(),
        "one hidden layer of 512 (neural SHTTM)": shttm_neural_reuters_32bit.get_config(),
    }
    figures = {}
    rates = {}
    for name, config in configs.items():
        config.data.data_dir = options.data_dir
        experiment = prepare(config, Path("."))
        ids = np.arange(len(experiment.dataset))
        encoder = untrained(config, experiment.signature)
        dataset = experiment.dataset
        rates[name] = documents_per_second(
            lambda: encoder.encode_dataset(dataset, ids, finish=packed_bits),  # noqa: B023
            len(ids), options.repeats,
        )  # fmt: skip
        figures[f"{len(ids):,} documents, {name}"] = f"{rates[name]:,.0f} documents/s"

    features = experiment.dataset.features(ids)
    kernel = np.random.default_rng(0).standard_normal((features.shape[1], config.num_bits))
    kernel = kernel.astype(np.float32)
    peer = documents_per_second(
        lambda: hamming.pack((features @ kernel > 0).astype(np.uint8)), len(ids), options.repeats
    )
    ratio = rates["linear (SHTTM)"] / peer
    figures["SciPy's sparse product, thresholded and packed"] = (
        f"{peer:,.0f} documents/s; ours, linear, is {ratio:.2f} x as fast"
    )
    width = max(map(len, figures))
    for label, text in figures.items():
        print(f"{label:{width}}  {text}")
    if options.result:
        run = workdir.describe_run(workdir.command_line(), [])
        content = {"title": "Encoding documents", "figures": figures, "run": run}
        write_json(options.result, content)


if __name__ == "__main__":
    main()
