"""Times an encoder beside its bare compiled forward pass: `python -m benchmarks.encode_images`.

- Images/s of `encoder.encode` on an array in memory, of `search.py index` on a folder of PNG files
  with the same images, and of the compiled forward pass alone, on one batch that stays on the
  device; alternating, with the median ratios of the time on the CPU.
- Seconds from the start of a process to the code of one image, from an encoder file, beside a
  process that imports JAX and Flax, builds the same network and compiles it.

The network is that of configs/cifar10_48bit_cpu.py with random weights: the time does not depend
on them.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from benchmarks.results import write_result
from configs import cifar10_48bit_cpu
from dsh_jax.data.signature import ImageInputs, Signature
from dsh_jax.devices import compile_encode, pick_devices, replicate, shard
from dsh_jax.encoder import Encoder
from dsh_jax.encoder_files import describe
from dsh_jax.search.building import encode_with, fill
from dsh_jax.search.index import create_index, open_index
from dsh_jax.search.manifest import Manifest
from dsh_jax.search.sources import Source, of_images

SIGNATURE = Signature(ImageInputs(32, 32, 3), "single", tuple(map(str, range(10))))
ONE_IMAGE = """
import numpy as np
from dsh_jax import load_encoder
load_encoder({path!r}).encode(np.zeros((1, 32, 32, 3), np.uint8))
"""
BARE = """
import jax, flax, jax.numpy as jnp, numpy as np
from dsh_jax.networks import representation
from dsh_jax.networks.streams import HashStream
network = representation.build("conv3", width={width}, depth=10, features={features}, dropout=0.0,
                               norm="none", spectral_norm=False, dtype=jnp.float32)
stream = HashStream(48, {sharpness})
images = jnp.zeros((1, 32, 32, 3))
shapes = jax.eval_shape(lambda k: network.init(k, images, train=False), jax.random.key(0))
first = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
features = jax.eval_shape(lambda v: network.apply(v, images, train=False), first)
shapes = jax.eval_shape(lambda k: stream.init(k, jnp.zeros(features.shape), train=False),
                        jax.random.key(0))
second = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
encode = jax.jit(lambda a, b, x: stream.apply(b, network.apply(a, x, train=False), train=False))
np.asarray(encode(first, second, images))
"""


def untrained(config: ConfigDict, signature: Signature) -> Encoder:
    """The encoder of a config with random weights."""
    description = describe(config, signature, "untrained")
    variables = jax.jit(description.build().init)(jax.random.key(0))
    return Encoder(description, jax.tree.map(np.asarray, variables), pick_devices(0, {}))


def index(encoder: Encoder, source: Source, uri: Path) -> None:
    """As `search.py index` does it."""
    create_index(uri, Manifest(encoder.num_bits))
    with open_index(uri, write=True) as opened:
        encode = encode_with(encoder, "images")
        fill(opened, source.entries, encode, batch=1024, progress=False)


def throughput(
    config: ConfigDict, num_batches: int, rounds: int, folder: Path
) -> tuple[float, dict[str, tuple[float, float, float]]]:
    """Images/s of the bare forward pass; and of each way to encode, with its median ratio to the
    bare pass, and that of the time on the CPU."""
    size, devices = config.encode_batch_size, pick_devices(0, {})
    images = np.random.default_rng(0).integers(0, 256, (num_batches * size, 32, 32, 3), np.uint8)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:06}.png")
    source = of_images(folder)
    encoder = untrained(config, SIGNATURE)
    network = describe(config, SIGNATURE, "untrained").build()
    variables = replicate(jax.jit(network.init)(jax.random.key(0)), devices)
    compiled = compile_encode(network.encode, devices)
    batch = shard({"image": images[:size]}, devices)

    def bare() -> None:
        outputs = [compiled(variables, batch) for _ in range(num_batches)]
        jax.block_until_ready(outputs)

    def indexed() -> None:
        with tempfile.TemporaryDirectory() as place:
            index(encoder, source, Path(place) / "index")

    def seconds(run: Callable[[], Any]) -> np.ndarray:
        began = time.perf_counter(), time.process_time()
        run()
        return np.array([time.perf_counter() - began[0], time.process_time() - began[1]])

    ways = {"in memory": lambda: encoder.encode(images), "of PNG files into an index": indexed}
    for run in (bare, *ways.values()):
        run()
    times = [[seconds(run) for run in (bare, *ways.values())] for _ in range(rounds)]
    wall, cpu = np.moveaxis(np.array(times), -1, 0)
    speeds = len(images) / np.median(wall, axis=0)
    beside, cpu_beside = (np.median(each[:, :1] / each, axis=0) for each in (wall, cpu))
    rows = zip(speeds[1:], beside[1:], cpu_beside[1:], strict=True)
    return speeds[0], dict(zip(ways, rows, strict=True))


def start_up(config: ConfigDict, rounds: int) -> dict[str, tuple[float, float]]:
    """What is loaded -> (seconds to the first code, ratio to the bare process)."""
    fields = config.representation
    bare = BARE.format(width=fields.width, features=fields.features,
                       sharpness=config.hash_stream.sharpness)  # fmt: skip

    def seconds(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        return time.perf_counter() - began

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "encoder.safetensors"
        untrained(config, SIGNATURE).save(file)
        programs = {"an encoder file": ONE_IMAGE.format(path=str(file)), "bare": bare}
        times: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(rounds + 1):
            for name, code in programs.items():
                times[name].append(seconds(code))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    return {name: (value, value / medians["bare"]) for name, value in medians.items()}


def main() -> None:
    """Reads the flags, measures and prints."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--note", default="", help="kept in the result")
    parser.add_argument("--result", type=Path, help="also write a JSON file")
    options = parser.parse_args()
    config = cifar10_48bit_cpu.get_config()
    with tempfile.TemporaryDirectory() as folder:
        bare, ways = throughput(config, options.batches, options.rounds, Path(folder))
    loading = start_up(config, options.rounds)
    figures = {"the compiled forward pass alone": f"{bare:,.0f} images/s"}
    for way, (speed, ratio, cpu) in ways.items():
        figures[f"encoding images {way}"] = (
            f"{speed:,.0f} images/s, {ratio:.1%} of that; {cpu:.1%} by CPU time"
        )
    figures |= {
        "process to first code, encoder file": "{:.2f} s".format(loading["an encoder file"][0]),
        "importing JAX and compiling the network alone": "{:.2f} s; the encoder takes {:.2f} x as "
        "long".format(loading["bare"][0], loading["an encoder file"][1]),
    }
    width = max(map(len, figures))
    for label, text in figures.items():
        print(f"{label:{width}}  {text}")
    write_result(options.result, "Encoding images", figures, note=options.note)


if __name__ == "__main__":
    main()
