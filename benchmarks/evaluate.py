"""Evaluation compared with common implementations, in one run: `python -m benchmarks.evaluate`.

Prints ratios to a NumPy loop that sorts the database for each query, as public hashing code does,
and to `faiss.IndexBinaryFlat` returning the 1,000 nearest; then the memory of a large evaluation.
"""

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.results import write_result
from dsh_jax import hamming
from dsh_jax.retrieval import evaluate
from dsh_jax.retrieval.counts import distance_counts

NUM_CLASSES = 10
Problem = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def problem(num_queries: int, num_database: int, num_bits: int) -> Problem:
    """Query codes and class ids, database codes and class ids; codes are packed, and correlate with
    the classes."""
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
    query, query_labels, database, labels = result
    return query, query_labels, database, labels


def sort_loop(
    query: np.ndarray, query_labels: np.ndarray, database: np.ndarray, labels: np.ndarray,
    num_bits: int,
) -> float:  # fmt: skip
    """mAP over all as public hashing code computes it: for each query a product of one-hot labels,
    a product of +-1 codes and an argsort, in float32."""
    signs = [2.0 * hamming.unpack(codes, num_bits).astype(np.float32) - 1
             for codes in (query, database)]  # fmt: skip
    one_hot = np.eye(NUM_CLASSES, dtype=np.float32)
    wanted, items = one_hot[query_labels], one_hot[labels]
    scores = []
    for code, label in zip(signs[0], wanted, strict=True):
        relevant = (np.dot(label, items.T) > 0).astype(np.float32)
        distance = 0.5 * (num_bits - np.dot(code, signs[1].T))
        hit = relevant[np.argsort(distance)]
        ranks = np.where(hit == 1)[0] + 1.0
        precisions = np.linspace(1, len(ranks), len(ranks)) / ranks
        scores.append(float(precisions.mean()) if len(ranks) else 0.0)
    return float(np.mean(scores))


def best_of(repeats: int, function: Callable[[], Any]) -> tuple[float, Any]:
    """(fewest seconds, result) of several calls."""
    taken, result = [], None
    for _ in range(repeats):
        began = time.perf_counter()
        result = function()
        taken.append(time.perf_counter() - began)
    return min(taken), result


def compare_speed(num_queries: int, num_database: int, num_bits: int) -> dict[str, str]:
    """Times and ratios on one problem: description -> figure."""
    arguments = problem(num_queries, num_database, num_bits)
    query, _, database, _ = arguments
    first, _ = best_of(1, lambda: evaluate(*arguments, num_bits=num_bits))
    ours, result = best_of(3, lambda: evaluate(*arguments, num_bits=num_bits))
    loop, peers = best_of(2, lambda: sort_loop(*arguments, num_bits))
    index = faiss.IndexBinaryFlat(8 * query.shape[1])
    index.add(database)
    search, _ = best_of(3, lambda: index.search(query, 1000))
    counting = {kernel: best_of(3, partial(distance_counts, *arguments, num_bits=num_bits,
                                           kernel=kernel))[0]
                for kernel in ("popcount", "devices")}  # fmt: skip
    worst, best = result["tie_band"]["map"]
    size = f"{num_queries:,} queries x {num_database:,} items x {num_bits} bits"
    return {
        f"{size}: all metrics": f"{ours:.2f} s (the first time {first:.2f} s, with compilation)",
        "NumPy loop that sorts for each query, mAP alone": f"{loop / ours:.1f} x that time",
        "faiss.IndexBinaryFlat, the 1,000 nearest alone": f"{search / ours:.1f} x that time",
        "counting distances alone by popcount, by JAX": ", ".join(
            f"{taken / ours:.2f} x" for taken in counting.values()) + " that time",
        "mAP": f"{result['map']:.6f}; the loop's {peers:.6f}; "
               f"{worst:.6f} to {best:.6f} by any order of ties",
    }  # fmt: skip


def measure_memory(num_queries: int, num_database: int, num_bits: int) -> dict[str, str]:
    """Time and peak memory above the inputs: description -> figure."""
    arguments = problem(num_queries, num_database, num_bits)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken, _ = best_of(1, lambda: evaluate(*arguments, num_bits=num_bits))
    above = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    size = f"{num_queries:,} queries x {num_database:,} items x {num_bits} bits"
    return {f"{size}: all metrics": f"{taken:.0f} s, {above / 2**20:.2f} GiB above the inputs"}


def main() -> None:
    """Measures memory first, because the peak of a process never falls, then speed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--skip_memory", action="store_true", help="leave out the large problem")
    parser.add_argument("--result", type=Path, help="also write the figures to this JSON file")
    options = parser.parse_args()
    figures = {} if options.skip_memory else measure_memory(1000, 10_000_000, 64)
    figures |= compare_speed(1000, 59_000, 48)
    for name, value in figures.items():
        print(f"{name:60} {value}")
    write_result(options.result, "Evaluation", figures)


if __name__ == "__main__":
    main()
