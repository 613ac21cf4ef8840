"""Writes the features that an encoder's network has of a data set, as data of their own.

    python -m tools.embed --encoder examples/cifar10_48bit.safetensors \\
      --config configs/cifar10_48bit_best_cpu.py --output DIR [--data_dir DIR]

DIR gets `vectors.npy` float32 `[n, width]`, `labels.npy`, `class_names.txt` and, where there are
any, official test items as `test.npy` and names as `ids.txt`: a folder that `configs/features.py`
reads. Rows are in the data's own order, so that the same protocol and seed draw the same split.
The encoder has seen the labels of its own training items: use its split, or queries are seen ones.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dsh_jax.cli import read_config
from dsh_jax.data.loading import load_dataset
from dsh_jax.encoder import load_encoder
from dsh_jax.errors import UserError
from dsh_jax.evaluation_config import move_data
from dsh_jax.files import replacing, write_json

BLOCK = 2000  # items at a time


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the folder; returns the exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--encoder", type=Path, required=True, help="an encoder file or a workdir")
    parser.add_argument("--config", required=True, help="whose fields `data` describe the data")
    parser.add_argument("--data_dir", default="", help="where the data is, if not as configured")
    parser.add_argument("--output", type=Path, required=True, help="the folder to write")
    options = parser.parse_args(arguments)
    try:
        embed(options.encoder, options.config, options.data_dir, options.output)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def embed(encoder_path: Path, config_path: str, data_dir: str, output: Path) -> None:
    """Writes the features of all items of the data of a config.

    Raises:
      UserError: the encoder or the data is missing or damaged, or the two do not fit.
    """
    config = read_config(config_path)
    move_data(config, data_dir)
    encoder, dataset = load_encoder(encoder_path), load_dataset(config.data)
    if dataset.inputs != encoder.signature.inputs:
        raise UserError(f"{encoder_path} does not encode items as {dataset.name} has them.")
    blocks = range(0, len(dataset), BLOCK)
    features = [
        encoder.represent_dataset(dataset, np.arange(first, min(first + BLOCK, len(dataset))))
        for first in tqdm(blocks, unit="block")
    ]
    arrays = {"vectors": np.concatenate(features), "labels": dataset.labels}
    if dataset.is_test.any():
        arrays["test"] = dataset.is_test
    for name, array in arrays.items():
        with replacing(output / f"{name}.npy") as beside, beside.open("wb") as file:
            np.save(file, array)
    texts = {"class_names": dataset.class_names, "ids": dataset.names}
    for name, lines in texts.items():
        if lines:
            with replacing(output / f"{name}.txt") as beside:
                beside.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    about = {"encoder": encoder.fingerprint, "origin": encoder.origin and encoder.origin.to_dict(),
             "dataset": dataset.collection, "version": dataset.version}  # fmt: skip
    write_json(output / "about.json", about)


if __name__ == "__main__":
    sys.exit(main())
