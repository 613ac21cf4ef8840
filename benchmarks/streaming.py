"""Times images streamed from their cache, and plain loops: `python -m benchmarks.streaming`.

Small JPEG files are written to a folder, cached, and read back in batches: each way in a separate
process, one after the other, the best of three rounds. The cache is timed in both of its forms,
JPEG and pixels; the other ways decode JPEG. Peak memory is read from /proc/self/status on Linux,
because the value of getrusage includes the parent's.
"""

import argparse
import dataclasses
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from PIL import Image

from benchmarks.results import write_result
from dsh_jax.data.batches import batch_ids
from dsh_jax.data.images.cache import CachedImages, cached_images
from dsh_jax.data.images.listing import Listing, list_images
from dsh_jax.data.prefetch import stream

SIDE = 32
BATCH = 128
WARM_UP = 20  # batches
CLASSES = 10
ROUNDS = 3


def write_images(folder: Path, count: int) -> Listing:
    """Writes smooth noise as JPEG files, the same on every call."""
    rng = np.random.default_rng(0)
    for number in range(count):
        noise = rng.integers(0, 256, (4, 4, 3)).astype(np.uint8)
        path = folder / f"{number % CLASSES}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path, quality=95)
    return list_images(folder)


def first_of(listing: Listing, count: int) -> Listing:
    """The first images of a listing, with another source and so another cache."""
    return dataclasses.replace(
        listing, source=listing.source / "first", names=listing.names[:count],
        paths=listing.paths[:count], labels=listing.labels[:count],
        is_test=listing.is_test[:count],
    )  # fmt: skip


def decode(content: bytes) -> np.ndarray:
    """A JPEG's pixels, `[SIDE, SIDE, 3]`."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def batches_of_cache(path: Path) -> Iterator[np.ndarray]:
    """Ours."""
    images = CachedImages(path)
    ids = np.arange(len(images))

    def make(step: int) -> np.ndarray:
        return images[batch_ids(ids, step, BATCH, seed=0, stream="stream")]

    yield from stream(make, range(sys.maxsize))


def batches_of_files(path: Path) -> Iterator[np.ndarray]:
    """A plain loop over files in shuffled order."""
    paths = sorted(path.rglob("*.jpg"))
    order = np.random.default_rng(0).permutation(len(paths))
    for first in range(0, len(order), BATCH):
        yield np.stack([decode(paths[row].read_bytes()) for row in order[first : first + BATCH]])


def batches_in_sequence(path: Path) -> Iterator[np.ndarray]:
    """A plain loop over the records of the cache, from first to last."""
    reader = ArrayRecordReader(str(path))
    count = reader.num_records() - 1
    for first in range(0, count, BATCH):
        yield np.stack([decode(record) for record in reader.read(first, min(first + BATCH, count))])


def batches_of_grain(path: Path) -> Iterator[np.ndarray]:
    """Grain's own pipeline over the records of the cache, with its default threads."""
    import grain

    source = grain.sources.ArrayRecordDataSource(str(path))
    records = grain.MapDataset.source(source)[: len(source) - 1]
    yield from records.shuffle(seed=0).map(decode).repeat().batch(BATCH).to_iter_dataset()


WAYS: dict[str, Callable[[Path], Iterator[np.ndarray]]] = {
    "cache": batches_of_cache,
    "files": batches_of_files,
    "sequence": batches_in_sequence,
    "grain": batches_of_grain,
}


def peak_memory() -> int:
    """Peak memory of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise OSError("there is no VmHWM in /proc/self/status")


def measure(way: str, path: Path, count: int) -> dict[str, float]:
    """Images per second over one epoch after a warm-up, and the growth of peak memory in MB."""
    batches = WAYS[way](path)
    for _ in range(WARM_UP):
        next(batches)
    memory, began, seen = peak_memory(), time.perf_counter(), 0
    for batch in batches:
        seen += len(batch)
        if seen >= count:
            break
    seconds = time.perf_counter() - began
    return {"rate": seen / seconds, "growth": (peak_memory() - memory) / 1e6}


def measure_apart(way: str, path: Path, count: int) -> dict[str, float]:
    """As `measure`, in a separate process."""
    command = [sys.executable, "-m", "benchmarks.streaming", "--way", way, "--path", str(path)]
    done = subprocess.run([*command, "--images", str(count)], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def compare(count: int, folder: Path) -> dict[str, str]:
    """All figures: description -> figure."""
    listing = write_images(folder / "images", count)
    began = time.perf_counter()
    cached_images(listing, size=SIDE, cache=folder / "jpeg", raw=False)
    made = count / (time.perf_counter() - began)
    few = first_of(listing, count // 10)
    cached_images(listing, size=SIDE, cache=folder / "raw", raw=True)
    cached_images(few, size=SIDE, cache=folder / "few", raw=False)
    caches = (next((folder / name).glob("*.array_record")) for name in ("jpeg", "raw", "few"))
    jpeg, raw, small = caches
    measured = {
        "ours": ("cache", jpeg, count),
        "pixels": ("cache", raw, count),
        "fewer": ("cache", small, count // 10),
        "a loop over the files": ("files", listing.source, count),
        "a loop over the records in sequence": ("sequence", jpeg, count),
        "Grain's own shuffle and batches": ("grain", jpeg, count),
    }
    rounds = [
        {name: measure_apart(*what) for name, what in measured.items()} for _ in range(ROUNDS)
    ]
    rates = {name: max(figures[name]["rate"] for figures in rounds) for name in measured}
    growth = {name: max(figures[name]["growth"] for figures in rounds) for name in measured}
    size = f"{count:,} images of {SIDE} x {SIDE}"
    return {
        f"{size}, decoded from JPEG in shuffled batches": f"{rates['ours']:,.0f} images a second",
        f"{size}, from pixels": f"{rates['pixels']:,.0f} images a second",
        **{
            f"{size}, from JPEG by {name}": f"{rates[name]:,.0f} images a second;"
            f" ours is {rates['ours'] / rates[name]:.2f} x that"
            for name in list(measured)[3:]
        },
        f"making the cache of {size}": f"{made:,.0f} images a second",
        "growth of peak memory while streaming one epoch":
            f"{growth['ours']:.1f} MB with {count:,} images ({count * SIDE**2 * 3 / 1e6:.0f} MB of"
            f" pixels), {growth['fewer']:.1f} MB with {count // 10:,}",
    }  # fmt: skip


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--way", choices=WAYS, help="measure only this, and print JSON")
    parser.add_argument("--path", type=Path, help="what to measure it on")
    parser.add_argument("--result", default="", help="also write the figures to this JSON file")
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.way, options.path, options.images)))
        return
    with tempfile.TemporaryDirectory() as folder:
        shown = compare(options.images, Path(folder))
    for name, value in shown.items():
        print(f"{name}\n    {value}")
    write_result(options.result, "Streaming images", shown)


if __name__ == "__main__":
    main()
