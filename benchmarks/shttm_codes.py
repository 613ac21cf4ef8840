"""Times SHTTM's codes and the published loop: `python -m benchmarks.shttm_codes`.

Ours is timed as a user calls it, with the grouping of the tags and the float64 objective of each
iteration. The loop is NumPy over tags and documents, and forms each system with all of C. Both
solve in float32, from the same tags and topics.
"""

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import write_result
from dsh_jax.methods.shttm_codes import learn_codes

WEIGHTS = {"present": 1.0, "missing": 0.01, "tag_ridge": 0.1, "topic_weight": 0.1}


def textbook_iteration(
    tags: np.ndarray,
    topics: np.ndarray,
    codes: np.ndarray,
    *,
    present: float,
    missing: float,
    tag_ridge: float,
    topic_weight: float,
) -> tuple[np.ndarray, np.ndarray]:
    """One iteration by the paper's formulas, in the precision of the topics.

    Args:
      tags: multi-hot `[n, tags]`.
      topics, codes: `[n, k]`.
      present, missing, tag_ridge, topic_weight: as `learn_codes` takes them.

    Returns:
      (codes, factors): `[n, k]` and `[tags, k]`.
    """
    wanted = tags.astype(topics.dtype)
    confidence = np.where(tags, present, missing).astype(topics.dtype)
    identity = np.eye(topics.shape[1], dtype=topics.dtype)
    factors = np.empty((tags.shape[1], topics.shape[1]), topics.dtype)
    for i in range(len(factors)):
        weighted = codes.T * confidence[:, i]
        gram = weighted @ codes + tag_ridge * identity
        factors[i] = np.linalg.solve(gram, weighted @ wanted[:, i])
    moved = np.empty_like(topics)
    for j in range(len(moved)):
        weighted = factors.T * confidence[j]
        gram = weighted @ factors + topic_weight * identity
        moved[j] = np.linalg.solve(gram, weighted @ wanted[j] + topic_weight * topics[j])
    return moved, factors


def textbook_objective(
    tags: np.ndarray, topics: np.ndarray, codes: np.ndarray, factors: np.ndarray
) -> float:
    """The objective at `WEIGHTS` with all pairs at once, in float64."""
    codes, factors = codes.astype(float), factors.astype(float)
    confidence = np.where(tags, WEIGHTS["present"], WEIGHTS["missing"])
    return float(
        np.sum(confidence * np.square(tags - codes @ factors.T))
        + WEIGHTS["tag_ridge"] * np.sum(np.square(factors))
        + WEIGHTS["topic_weight"] * np.sum(np.square(codes - topics))
    )


def random_tags(n: int, num_tags: int) -> np.ndarray:
    """Multi-hot tags, 1.24 per document; the frequency of the r-th tag is about 1 / r^1.2."""
    rng = np.random.default_rng(0)
    counts = np.minimum(1 + rng.poisson(0.24, n), num_tags)
    frequency = np.arange(1.0, num_tags + 1) ** -1.2
    # The largest values of log-frequency plus Gumbel noise: a draw without replacement.
    scores = np.log(frequency) + rng.gumbel(size=(n, num_tags))
    ranks = np.argsort(np.argsort(-scores, axis=1), axis=1)
    return (ranks < counts[:, None]).astype(np.uint8)


def reuters_tags(data_dir: Path) -> np.ndarray:
    """Tags of the training documents of Reuters-21578 that have any."""
    from dsh_jax.data.documents.collections import load_documents

    documents = load_documents("reuters21578", data_dir)
    tags = np.asarray(documents.labels)[~np.asarray(documents.is_test)]
    return tags[tags.any(axis=1)]


def measure(
    tags: np.ndarray, num_bits: int, iterations: int, textbook_iterations: int
) -> dict[str, Any]:
    """Seconds of both forms on the same corpus, their objectives, and our peak memory."""
    topics = np.random.default_rng(1).dirichlet(np.full(num_bits, 0.1), len(tags))
    topics = topics.astype(np.float32)
    seconds = {}
    for name in ("first", "again"):
        began = time.perf_counter()
        result = learn_codes(
            tags,
            topics,
            iterations=iterations,
            tolerance=0.0,
            dtype="float32",
            soft=None,
            exposure=None,
            report=None,
            **WEIGHTS,
        )
        seconds[name] = time.perf_counter() - began
    # In KiB, on macOS in bytes; read before the loop, which is not ours.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_mib = peak / (1024**2 if sys.platform == "darwin" else 1024)

    codes = topics
    began = time.perf_counter()
    for _ in range(textbook_iterations):
        codes, factors = textbook_iteration(tags, topics, codes, **WEIGHTS)
    textbook = (time.perf_counter() - began) / textbook_iterations
    objective = textbook_objective(tags, topics, codes, factors)
    ours, done = result.objectives[textbook_iterations - 1], len(result.objectives)
    return {
        "iterations": done,
        "seconds": seconds["again"],
        "first_seconds": seconds["first"],
        "milliseconds": 1e3 * seconds["again"] / done,
        "textbook_milliseconds": 1e3 * textbook,
        "ratio": textbook * done / seconds["again"],
        "first_ratio": textbook * done / seconds["first"],
        "textbook_iterations": textbook_iterations,
        "difference": abs(ours - objective) / objective,
        "objective": result.objectives[-1],
        "objective_first": result.objectives[0],
        "peak_mib": peak_mib,
    }


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data_dir", default="", help="of Reuters-21578; else tags of its shape")
    parser.add_argument("--bits", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--textbook_iterations", type=int, default=2)
    parser.add_argument("--result", default="", help="also write the figures to this JSON file")
    options = parser.parse_args()
    tags = reuters_tags(Path(options.data_dir)) if options.data_dir else random_tags(7775, 115)
    corpus = "Reuters-21578" if options.data_dir else "random tags"
    size = f"{corpus}, {len(tags):,} documents x {tags.shape[1]} tags, {options.bits} bits"
    figures = measure(tags, options.bits, options.iterations, options.textbook_iterations)
    shown = {
        f"{size}: the fit": "{iterations} iterations in {seconds:.2f} s, {milliseconds:.1f} ms "
        "each; {first_seconds:.2f} s the first time, with compilation",
        f"{size}: the published NumPy loop over tags and documents": "{textbook_milliseconds:.0f} "
        "ms an iteration, {ratio:.0f} x ours; {first_ratio:.1f} x ours with compilation",
        f"{size}: objective": "{objective_first:.2f} after the first iteration, {objective:.2f} "
        "after the last; after {textbook_iterations} it is the loop's to {difference:.0e} of it",
        f"{size}: peak memory of the process, before the loop": "{peak_mib:,.0f} MiB",
    }
    shown = {name: value.format(**figures) for name, value in shown.items()}
    for name, value in shown.items():
        print(f"{name}\n    {value}")
    write_result(options.result, "SHTTM's codes", shown)


if __name__ == "__main__":
    main()
