"""Compares CIFAR-10 from a folder of JPEGs with CIFAR-10 through TFDS: do the scores agree?

    python -m benchmarks.folder_of_jpegs --data_dir DIR --result results/speed/folder_of_jpegs.json

Writes the records of TFDS as files, one folder per class, and trains CNNH+ for a few steps on both,
with the same seeds and number of steps. The splits differ, because the files are in another order;
so the scores should agree within the noise of a split, not exactly.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from ml_collections import ConfigDict
from tqdm import tqdm

from benchmarks.results import write_result
from configs import cnnh_plus_cifar10, image_files
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.training.loop import train


def export(data_dir: str, folder: Path) -> None:
    """Writes every image of CIFAR-10 with the same bytes as in TFDS."""
    builder = tfds.builder("cifar10", data_dir=data_dir)
    names = builder.info.features["label"].names
    parts = builder.as_data_source(decoders={"image": tfds.decode.SkipDecoding()})
    for part in ("train", "test"):
        for row, record in enumerate(tqdm(parts[part], desc=f"writing {part}")):
            place = folder / names[record["label"]] / f"{part}_{row:05}.jpg"
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(record["image"])


def score(config: ConfigDict, seed: int, place: Path) -> float:
    """mAP of the queries after training; `seed` is also the seed of the split."""
    config.seed = config.data.split_seed = seed
    train(config, place, {"command": ""})
    return float(evaluate_workdir(place, checkpoint="latest")["map"])


def main() -> None:
    """Reads the flags, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data_dir", required=True, help="TFDS' directory")
    parser.add_argument("--num_steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--result", type=Path, help="also write a JSON file")
    options = parser.parse_args()
    scores: dict[str, list[float]] = {"TFDS": [], "folder": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "cifar10"
        folder.mkdir()
        export(options.data_dir, folder)
        for seed in range(options.seeds):
            for source in scores:
                config = cnnh_plus_cifar10.get_config(48)
                config.num_steps = config.eval_every_steps = options.num_steps
                config.data.data_dir = options.data_dir
                if source == "folder":
                    config = image_files.get_config(config, "image_files", image_size=32)
                    config.data.root = str(folder)
                    config.data.cache_dir = f"{temporary}/cache"
                place = Path(temporary) / f"{source}{seed}"
                scores[source].append(score(config, seed, place))
                print(f"{source}, seed {seed}: mAP {scores[source][-1]:.4f}", flush=True)
    shown: dict[str, Any] = {
        f"CNNH+, 48 bits, {options.num_steps} steps, mAP by seed: {source}": (
            ", ".join(f"{value:.4f}" for value in values)
            + f"; mean {statistics.mean(values):.4f}, deviation {statistics.stdev(values):.4f}"
        )
        for source, values in scores.items()
    }
    for name, value in shown.items():
        print(f"{name}\n    {value}")
    write_result(options.result, "A folder of JPEGs", shown)


if __name__ == "__main__":
    main()
