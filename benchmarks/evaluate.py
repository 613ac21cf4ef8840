"""Evaluation against the ways that peers do it, in one run: `python -m benchmarks.evaluate`.

Prints ratios to a NumPy loop that sorts the database for each query, as public hashing code does,
and to `faiss.IndexBinaryFlat` returning the 1,000 nearest; then the memory of a large evaluation.
"""

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np

from dsh_jax import hamming
from dsh_jax.retrieval import evaluate
from dsh_jax.retrieval.counts import distance_counts

NUM_CLASSES = 10


def problem(num_queries: int, num_database: int, num_bits: int) -> tuple[np.ndarray, ...]:
    """Packed codes and class ids whose codes say something of their class: q, ql, d, dl."""
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 2, (NUM_CLASSES, num_bits), np.uint8)
    result = []
    for n in (num_queries, num_database):
        labels = rng.integers(0, NUM_CLASSES, n)
        packed = [
            hamming.pack(centres[rows] ^ (rng.random((len(rows), num_bits)) < 0.25))
            for rows in np.array_split(labels, max(1, n // 100_000))
        ]
        result += [np.concatenate(packed), labels]
    return tuple(result)


def sort_loop(
    query: np.ndarray, query_labels: np.ndarray, database: np.ndarray, labels: np.ndarray,
    num_bits: int,
) -> float:  # fmt: skip
    """mAP over all, as peers compute it: a float product and an argsort for each query."""
    signs = [2.0 * hamming.unpack(codes, num_bits).astype(np.float32) - 1
             for codes in (query, database)]  # fmt: skip
    scores = []
    for code, label in zip(signs[0], query_labels, strict=True):
        distance = 0.5 * (num_bits - signs[1] @ code)
        hit = labels[np.argsort(distance)] == label
        ranks = np.flatnonzero(hit) + 1
        precisions = np.arange(1, len(ranks) + 1) / ranks
        scores.append(float(precisions.mean()) if len(ranks) else 0.0)
    return float(np.mean(scores))


def best_of(repeats: int, function: Callable[[], Any]) -> tuple[float, Any]:
    """(least seconds, result)."""
    taken, result = [], None
    for _ in range(repeats):
        began = time.perf_counter()
        result = function()
        taken.append(time.perf_counter() - began)
    return min(taken), result


def compare_speed(num_queries: int, num_database: int, num_bits: int) -> None:
    """Prints times and ratios on one problem."""
    query, query_labels, database, labels = problem(num_queries, num_database, num_bits)
    arguments = (query, query_labels, database, labels)
    print(f"{num_queries:,} queries x {num_database:,} items x {num_bits} bits")
    first, _ = best_of(1, lambda: evaluate(*arguments, num_bits=num_bits))
    ours, result = best_of(3, lambda: evaluate(*arguments, num_bits=num_bits))
    loop, peers = best_of(1, lambda: sort_loop(*arguments, num_bits))
    index = faiss.IndexBinaryFlat(8 * query.shape[1])
    index.add(database)
    search, _ = best_of(3, lambda: index.search(query, 1000))
    print(f"  evaluate, all metrics        {ours:8.3f} s   (with compilation {first:.3f} s)")
    print(f"  NumPy sort loop, mAP alone   {loop:8.3f} s   {loop / ours:6.1f} x ours")
    print(f"  faiss, 1,000 nearest alone   {search:8.3f} s   {search / ours:6.1f} x ours")
    worst, best = result["tie_band"]["map"]
    print(f"  mAP {result['map']:.6f}, by any order of ties {worst:.6f} to {best:.6f}; "
          f"of the sort loop {peers:.6f}")
    for kernel in ("popcount", "matmul"):
        taken, _ = best_of(
            3, lambda: distance_counts(*arguments, num_bits=num_bits, kernel=kernel)  # noqa: B023
        )
        print(f"  counts by {kernel:8}           {taken:8.3f} s")


def measure_memory(num_queries: int, num_database: int, num_bits: int) -> None:
    """Prints the peak memory above the inputs."""
    arguments = problem(num_queries, num_database, num_bits)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken, result = best_of(1, lambda: evaluate(*arguments, num_bits=num_bits))
    above = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{num_queries:,} queries x {num_database:,} items x {num_bits} bits")
    print(f"  evaluate, all metrics        {taken:8.1f} s, mAP {result['map']:.4f}")
    print(f"  peak memory above the inputs {above / 2**20:8.2f} GiB")


def main() -> None:
    """Runs both parts; memory first, as a peak is never forgotten."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--database", type=int, default=59_000)
    parser.add_argument("--num_bits", type=int, default=48)
    parser.add_argument("--skip_memory", action="store_true", help="leave out the large problem")
    options = parser.parse_args()
    if not options.skip_memory:
        measure_memory(10_000, 1_000_000, 64)
    compare_speed(options.queries, options.database, options.num_bits)


if __name__ == "__main__":
    main()
