"""Search beside FAISS alone, in one run: `python -m benchmarks.search`.

- Seconds of an index's answer with items, and of `faiss.IndexBinaryFlat` returning numbers, on the
  same codes; alternating, with the median ratio.
- Recall and speed of the approximate kinds beside the flat index of FAISS, on codes around real
  ones: a hit counts if it is as near as the last of the exact ones.
- Seconds to open the index and to answer the first query, in a process of its own.
- The share of 100 queries whose hits in Milvus Lite are those of FAISS, item by item.

Codes are synthetic: each is a centre with bits flipped, and centres are real codes, if given as
`--codes`, or random ones, 50 codes around each.
"""

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from dsh_jax import hamming
from dsh_jax.files import write_json
from dsh_jax.search import kinds
from dsh_jax.search.index import Index, create_index, open_index
from dsh_jax.search.items import Item
from dsh_jax.search.manifest import Manifest
from dsh_jax.training.workdir import command_line, describe_run

BITS = 64
FLIPPED = 0.05  # share of the bits of a code that differ from its centre's
OPEN = """
import time
from dsh_jax.search import kinds
from dsh_jax.search.index import open_index
import numpy as np
began = time.perf_counter()
index = open_index({uri!r})
opened = time.perf_counter() - began
index.search(np.zeros((1, {num_bytes}), np.uint8))
print(opened, time.perf_counter() - began)
"""


def codes_around(centres: np.ndarray, n: int, seed: int) -> np.ndarray:
    """`n` codes, each a centre `[m, num_bytes]` with some of its bits flipped."""
    rng = np.random.default_rng(seed)
    rows = np.empty((n, centres.shape[1]), np.uint8)
    for first in range(0, n, 100_000):
        some = centres[rng.integers(0, len(centres), min(100_000, n - first))]
        flips = rng.random((len(some), BITS)) < FLIPPED
        rows[first : first + len(some)] = some ^ np.packbits(flips, axis=1)
    return rows


def seconds(call: Callable[[], Any]) -> float:
    """Of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def ratio(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Median seconds of `ours`, and the median of its ratios to `theirs`, called in turns."""
    ours(), theirs()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    return statistics.median(a for a, _ in pairs), statistics.median(a / b for a, b in pairs)


def fill(uri: Path, codes: np.ndarray, compact: bool = True) -> float:
    """Makes an index of codes; returns the seconds that it takes."""

    def items() -> Iterator[list[Item]]:
        for first in range(0, len(codes), 20_000):
            block = codes[first : first + 20_000]
            yield [Item(f"{first + row:09}", code.tobytes()) for row, code in enumerate(block)]

    create_index(uri, Manifest(BITS))
    began = time.perf_counter()
    with open_index(uri, write=True) as index:
        for block in items():
            index.add(block)
        if compact:
            index.compact()
    return time.perf_counter() - began


def recall(index: Index, queries: np.ndarray) -> float:
    """The share of the 10 hits that are as near as the 10th of the exact ones."""
    exact, found = index.search(queries, exact=True), index.search(queries)
    return float(np.mean([
        sum(hit.distance <= far[-1].distance for hit in near) / len(far)
        for far, near in zip(exact, found, strict=True)
    ]))  # fmt: skip


def agreement(codes: np.ndarray, queries: np.ndarray, folder: Path) -> float:
    """The share of queries with the same hits from FAISS and from Milvus Lite."""
    found = []
    for name in ("faiss", "milvus.db"):
        fill(folder / name, codes, compact=name == "faiss")
        with open_index(folder / name) as index:
            found.append(index.search(queries))
    return float(np.mean([ours == theirs for ours, theirs in zip(*found, strict=True)]))


def opening(uri: Path) -> tuple[float, float]:
    """Seconds to open an index, and until the first answer, in a process of its own."""
    code = OPEN.format(uri=str(uri), num_bytes=BITS // 8)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    opened, answered = map(float, done.stdout.split())
    return opened, answered


def main() -> None:
    """Reads the flags, measures and prints."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--kinds", default="multihash,ivf,hnsw")
    parser.add_argument("--milvus", type=int, default=59_000, help="codes in Milvus; 0 for none")
    parser.add_argument("--codes", type=Path, help="an NPZ file with codes of 64 bits")
    parser.add_argument("--note", default="", help="kept in the result")
    parser.add_argument("--result", type=Path, help="also write the figures to this JSON file")
    options = parser.parse_args()
    shape = (max(1, options.items // 50), BITS // 8)
    centres = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    if options.codes:
        centres = hamming.check_packed(np.load(options.codes)["codes"], BITS)
    codes, queries = codes_around(centres, options.items, 1), codes_around(centres, 100, 2)
    bare = faiss.IndexBinaryFlat(BITS)
    bare.add(codes)
    real = "real codes" if options.codes else "random centres"
    size = f"{options.items:,} codes of {BITS} bits around {len(centres):,} {real}"
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        uri = Path(folder) / "index"
        figures[f"{size}: to index them"] = f"{fill(uri, codes):.1f} s"
        with open_index(uri) as index:
            took, above = ratio(
                lambda: index.search(queries), lambda: bare.search(queries, 10), options.rounds
            )
        figures["100 queries, top 10, flat, with their items"] = (
            f"{took:.3f} s; {above:.3f} x FAISS alone"
        )
        figures["opening, flat"] = "{:.3f} s; {:.3f} s to the first answer".format(*opening(uri))
        for kind in filter(None, options.kinds.split(",")):
            with open_index(uri, write=True) as index:
                built = seconds(lambda: index.compact(kind))  # noqa: B023
                took, above = ratio(
                    lambda: index.search(queries),  # noqa: B023
                    lambda: bare.search(queries, 10), options.rounds,
                )  # fmt: skip
                figures[f"{kind}: recall@10"] = f"{recall(index, queries):.3f}"
                fast = kinds.read(next(uri.glob(f"{kind}-*.faiss")))
                kinds.tune(kind, fast, index.manifest.options)
                _, alone = ratio(
                    lambda: fast.search(queries, 10),  # noqa: B023
                    lambda: bare.search(queries, 10), options.rounds,
                )  # fmt: skip
                figures[f"{kind}: 100 queries, FAISS alone"] = (
                    f"FAISS' flat index takes {1 / alone:.1f} x that time"
                )
            figures[f"{kind}: 100 queries, with their items"] = (
                f"{took:.4f} s; FAISS' flat index takes {1 / above:.1f} x that time"
            )
            opened = "{:.3f} s; {:.3f} s to the first answer".format(*opening(uri))
            figures[f"{kind}: to build, to open"] = f"{built:.1f} s, {opened}"
        figures["on disk, last kind"] = f"{_size(uri) / 2**20:,.0f} MiB"
        shutil.rmtree(uri)
        if options.milvus:
            same = agreement(codes[: options.milvus], queries, Path(folder))
            figures[f"Milvus Lite, {options.milvus:,} of the codes, 100 queries, top 10"] = (
                f"{same:.1%} of the answers are those of FAISS, item by item"
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    figures["peak memory, with the codes and FAISS' own index"] = f"{peak:.2f} GiB"
    for name, value in figures.items():
        print(f"{name:60} {value}")
    if options.result:
        run = describe_run(command_line(), []) | ({"note": options.note} if options.note else {})
        write_json(options.result, {"title": "Search", "figures": figures, "run": run})


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


if __name__ == "__main__":
    main()
