"""Times CNNH's target codes and the textbook form: `python -m benchmarks.cnnh_codes`.

Ours is timed as a user calls it, with the checks of S and the float64 objective of each sweep. The
textbook form is a NumPy loop that keeps L = H H^T - q S, timed on the first entries of a sweep
(for the small size, on a full sweep) and compared by time per entry, on the same matrix.
"""

import argparse
import time
from typing import Any

import numpy as np

from benchmarks.results import write_result
from dsh_jax.methods.cnnh_codes import (
    initial_codes,
    learn_codes,
    sweep_order,
)
from dsh_jax.methods.similarity import similarity_from_labels

NUM_LABELS = 21


def textbook_sweep(
    relaxed: np.ndarray, residual: np.ndarray, rows: np.ndarray, bits: np.ndarray
) -> int:
    """Moves entries by the paper's step, keeping L; both matrices are changed in place.

    Args:
      relaxed: H `[n, num_bits]`, fastest in column-major order.
      residual: L = H H^T - num_bits S, `[n, n]`.
      rows: the rows to visit, in order.
      bits: the bits of each, `[len(rows), num_bits]`.

    Returns:
      The number of entries visited.
    """
    for i, order in zip(rows, bits, strict=True):
        for j in order:
            column, entry = relaxed[:, j], relaxed[i, j]
            slope = residual[i] @ column
            curvature = column @ column + entry * entry + residual[i, i]
            down, up = -1 - entry, 1 - entry
            if curvature > 0:
                step = min(max(-slope / curvature, down), up)
            else:
                step = down if slope > 0 else up
            change = step * column
            residual[i] += change
            residual[:, i] += change
            residual[i, i] += step * step
            relaxed[i, j] += step
    return bits.size


def labels_of(n: int) -> np.ndarray:
    """Multi-hot labels, about two of `NUM_LABELS` per item."""
    return (np.random.default_rng(0).random((n, NUM_LABELS)) < 2 / NUM_LABELS).astype(np.uint8)


def measure(n: int, num_bits: int, sweeps: int, textbook_rows: int) -> dict[str, Any]:
    """Seconds of both forms on one similarity matrix, and our objective."""
    similarity = similarity_from_labels(labels_of(n))
    seconds = {}
    for name, count in (("first", 1), ("one", 1), ("all", sweeps)):
        began = time.perf_counter()
        result = learn_codes(similarity, num_bits=num_bits, seed=0, sweeps=count)
        seconds[name] = time.perf_counter() - began

    relaxed = np.asfortranarray(initial_codes(n, num_bits, 0))
    residual = relaxed @ relaxed.T - num_bits * similarity.astype(np.float32)
    rows, bits = (order[:textbook_rows] for order in sweep_order(n, num_bits, 0, 1))
    began = time.perf_counter()
    entries = textbook_sweep(relaxed, residual, rows, bits)
    textbook = (time.perf_counter() - began) / entries
    ours = seconds["all"] / (n * num_bits * sweeps)
    return {
        "n": n,
        "num_bits": num_bits,
        "sweeps": sweeps,
        "seconds": seconds["all"],
        "compile_seconds": seconds["first"] - seconds["one"],
        "microseconds_per_entry": 1e6 * ours,
        "textbook_entries": entries,
        "textbook_microseconds_per_entry": 1e6 * textbook,
        "textbook_over_ours": textbook / ours,
        "objective_per_pair": (result.objectives / n**2).tolist(),
        "quantized_objective_per_pair": result.quantized_objective / n**2,
        "quantization_gap": result.quantization_gap,
    }


def main() -> None:
    """Prints the figures of the large problem, then of the small one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--small_n", type=int, default=300)
    parser.add_argument("--num_bits", type=int, default=48)
    parser.add_argument("--sweeps", type=int, default=5)
    parser.add_argument("--result", default="", help="also write the figures to this JSON file")
    options = parser.parse_args()
    shown: dict[str, str] = {}
    for n in (options.n, options.small_n):
        figures = measure(n, options.num_bits, options.sweeps, options.small_n)
        size = f"{n:,} images x {options.num_bits} bits"
        objective = ", ".join(f"{value:.4f}" for value in figures["objective_per_pair"])
        shown |= {
            f"{size}: {options.sweeps} sweeps": "{seconds:.2f} s (and {compile_seconds:.2f} s to "
            "compile), {microseconds_per_entry:.2f} us an entry".format(**figures),
            f"{size}: the textbook's NumPy loop over entries, which keeps L":
            "{textbook_over_ours:.1f} x that time an entry, over {textbook_entries:,} entries"
            .format(**figures),
            f"{size}: objective a pair, at the start and after each sweep": objective,
            f"{size}: objective a pair of the signs; quantisation gap":
            "{quantized_objective_per_pair:.4f}; {quantization_gap:.4f}".format(**figures),
        }  # fmt: skip
    for name, value in shown.items():
        print(f"{name}\n    {value}")
    write_result(options.result, "CNNH's target codes", shown)


if __name__ == "__main__":
    main()
