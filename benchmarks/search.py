"""Search beside FAISS alone, in one run: `python -m benchmarks.search`.

- Seconds of an index's answer with items, and of `faiss.IndexBinaryFlat` returning numbers, on the
  same codes, of one thread each; alternating, with the median ratio.
- Recall and speed of the approximate kinds beside the flat index of FAISS, on codes around real
  ones: a hit counts if it is as near as the last of the exact ones.
- Seconds to open the index and to answer the first query, in a process of its own.
- The share of 100 queries whose hits in Milvus Lite are those of FAISS, item by item.

The first codes are real, if there are some in `--codes`; the others are synthetic. Each of these is
a centre with bits flipped, and centres are the real codes or random ones, 50 codes around each.
"""

import argparse
import resource
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

from benchmarks.results import write_result
from dsh_jax import hamming
from dsh_jax.search import kinds
from dsh_jax.search.index import Index, create_index, open_index
from dsh_jax.search.items import Item
from dsh_jax.search.manifest import Manifest

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


def seconds(call: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """Of one call."""
    began = clock()
    call()
    return clock() - began


def ratio(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Median seconds of `ours`, and the median of its ratios to `theirs`, called in turns.

    Both have one thread, and its time on the CPU counts, whatever else the machine does.
    """
    ours(), theirs()
    pairs = [tuple(seconds(each, time.thread_time) for each in (ours, theirs))
             for _ in range(rounds)]  # fmt: skip
    return statistics.median(a for a, _ in pairs), statistics.median(a / b for a, b in pairs)


def real_codes(path: Path) -> np.ndarray:
    """Codes `[n, num_bytes]` of a file, or of a workdir's codes.npz."""
    with np.load(path) as content:
        codes = content["database_codes" if "database_codes" in content else "codes"]
    return np.unique(hamming.check_packed(codes, BITS), axis=0)


def fill(uri: Path, codes: np.ndarray, kind: str = "flat", compact: bool = True) -> float:
    """Makes an index of codes; returns the seconds that it takes."""

    def items() -> Iterator[list[Item]]:
        for first in range(0, len(codes), 20_000):
            block = codes[first : first + 20_000]
            yield [Item(f"{first + row:09}", code.tobytes()) for row, code in enumerate(block)]

    create_index(uri, Manifest(BITS, kind=kind))
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


def measure(
    kind: str, index: Index, uri: Path, bare: faiss.IndexBinaryFlat, queries: np.ndarray,
    rounds: int,
) -> dict[str, str]:  # fmt: skip
    """Speed and recall of an index beside FAISS' flat one."""

    def flat() -> Any:
        return bare.search(queries, 10)

    took, above = ratio(lambda: index.search(queries), flat, rounds)
    if kind == "flat":
        return {"flat: 100 queries, top 10, with their items":
                f"{took:.3f} s; {above:.3f} x FAISS alone"}  # fmt: skip
    fast = kinds.read(next(uri.glob(f"{kind}-*.faiss")))
    kinds.tune(kind, fast, index.manifest.options)
    alone, beside = ratio(lambda: fast.search(queries, 10), flat, rounds)
    return {
        f"{kind}: recall@10": f"{recall(index, queries):.3f}",
        f"{kind}: 100 queries, top 10, with their items":
            f"{took:.4f} s; FAISS' flat index takes {1 / above:.1f} x that time",
        f"{kind}: 100 queries, top 10, FAISS alone":
            f"{alone:.4f} s; FAISS' flat index takes {1 / beside:.1f} x that time",
    }  # fmt: skip


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
    parser.add_argument("--kinds", default="flat,multihash,ivf,hnsw")
    parser.add_argument("--milvus", type=int, default=59_000, help="codes in Milvus; 0 for none")
    parser.add_argument("--codes", type=Path, help="an NPZ file with codes of 64 bits")
    parser.add_argument("--note", default="", help="kept in the result")
    parser.add_argument("--result", type=Path, help="also write the figures to this JSON file")
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)  # several wait for each other where other processes run
    shape = (max(1, options.items // 50), BITS // 8)
    centres, real = np.random.default_rng(0).integers(0, 256, shape, np.uint8), 0
    if options.codes:
        centres = real_codes(options.codes)
        real = min(len(centres), options.items)
    codes = np.concatenate([centres[:real], codes_around(centres, options.items - real, 1)])
    queries = codes_around(centres, 100, 2)
    bare = faiss.IndexBinaryFlat(BITS)
    bare.add(codes)
    around = f"synthetic, around {len(centres):,} random centres"
    if real:
        around = f"{real:,} are real, and the others synthetic around these"
    figures = {f"{options.items:,} codes of {BITS} bits": around}
    with tempfile.TemporaryDirectory() as folder:
        uri = Path(folder) / "index"
        for kind in filter(None, options.kinds.split(",")):
            if not uri.exists():
                took = fill(uri, codes, kind)
                figures[f"{kind}: to index them"] = f"{took:.1f} s"
            else:
                with open_index(uri, write=True) as index:
                    took = seconds(lambda: index.compact(kind))  # noqa: B023
                figures[f"{kind}: to build from another kind"] = f"{took:.1f} s"
            with open_index(uri) as index:
                figures |= measure(kind, index, uri, bare, queries, options.rounds)
            figures[f"{kind}: to open"] = "{:.3f} s; {:.3f} s to the first answer".format(
                *opening(uri)
            )
            figures[f"{kind}: on disk, with their items"] = f"{_size(uri) / 2**20:,.0f} MiB"
        if options.milvus:
            same = agreement(codes[: options.milvus], queries, Path(folder))
            figures[f"Milvus Lite, {options.milvus:,} of the codes, 100 queries, top 10"] = (
                f"{same:.1%} of the answers are those of FAISS, item by item"
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    figures["peak memory, with the codes and FAISS' own index"] = f"{peak:.2f} GiB"
    for name, value in figures.items():
        print(f"{name:60} {value}")
    title = f"Search among {options.items:,} codes"
    write_result(options.result, title, figures, note=options.note)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


if __name__ == "__main__":
    main()
