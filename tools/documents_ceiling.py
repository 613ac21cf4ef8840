"""What codes of documents can reach: their true tags as codes, and those of a linear classifier.

    python -m tools.documents_ceiling reuters DIR

Four rows, each precision@100 and mAP of the queries, a mean over draws: documents coded by their
true tags; queries coded by the tags that a linear support vector machine on tf-idf gives them, and
the database by its true tags; both coded by the machine; and both ranked by the cosine of the
machine's probabilities, a float for each tag. A tag is a bit, so these codes are longer than 32
bits where there are more tags. The machine's C, and the factor of its margins that gives
probabilities, are chosen on validation documents, and it is trained on the training documents that
methods train on. The result is `results/ceilings/documents_COLLECTION.json`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from dsh_jax import hamming
from dsh_jax.data.documents.dataset import WordDataset
from dsh_jax.files import write_json
from dsh_jax.retrieval.cosine import evaluate_cosine
from dsh_jax.retrieval.counts import distance_counts
from dsh_jax.retrieval.ranking import average_precision, precision_at
from tools import processes

STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
FACTORS = (1.0, 2.0, 4.0, 8.0, 16.0)


def measure(config: Any, draw: int) -> dict[str, Any]:
    """The rows on one draw, what was chosen, and how often the machine's first tag is true."""
    from dsh_jax.training.experiment import load_data

    config = config.copy_and_resolve_references()
    config.seed = config.data.split_seed = draw
    dataset, split = load_data(config, None)
    assert isinstance(dataset, WordDataset)
    tags = dataset.multi_hot(np.arange(len(dataset.labels))) > 0
    given = {c: _fit(dataset.tfidf[split.labeled], tags[split.labeled], c) for c in STRENGTHS}
    held = split.validation
    chosen = max(STRENGTHS, key=lambda c: _first_right(given[c](dataset.tfidf[held]), tags[held]))
    margins = given[chosen](dataset.tfidf)
    guessed = (margins > 0) & dataset.multi_label
    guessed[np.arange(len(guessed)), margins.argmax(axis=1)] = True
    rows = {"true_tags": (tags, tags), "classifier_and_true_tags": (guessed, tags),
            "classifier": (guessed, guessed)}  # fmt: skip
    found: dict[str, Any] = {"draw": draw, "C": chosen, "split_checksum": split.checksum}
    found["first_tag_right"] = _first_right(margins[split.query], tags[split.query])
    for name, (query, database) in rows.items():
        counts = distance_counts(
            hamming.pack(query[split.query]), dataset.labels[split.query],
            hamming.pack(database[split.database]), dataset.labels[split.database],
            num_bits=tags.shape[1],
        )  # fmt: skip
        found[name] = {"precision_at_100": float(precision_at(counts, 100).mean()),
                       "map": float(average_precision(counts).mean())}  # fmt: skip

    def by_probabilities(factor: float, query: np.ndarray, database: np.ndarray) -> dict:
        """Scores where items are ranked by the cosine of probabilities."""
        scaled = factor * margins
        likely = expit(scaled) if dataset.multi_label else softmax(scaled, axis=1)
        scores = evaluate_cosine(
            likely[query], dataset.labels[query],
            lambda rows: likely[database[rows]], dataset.labels[database],
        )  # fmt: skip
        return {name: scores[name] for name in ("precision_at_100", "map")}

    on_validation = {f: by_probabilities(f, held, split.labeled) for f in FACTORS}
    found["factor"] = max(FACTORS, key=lambda f: on_validation[f]["precision_at_100"])
    found["probabilities"] = by_probabilities(found["factor"], split.query, split.database)
    return found


def _fit(tfidf: Any, tags: np.ndarray, strength: float) -> Any:
    """A linear machine for each tag; returns what gives margins, `[n, words]` -> `[n, tags]`."""
    from sklearn.svm import LinearSVC

    kernel = np.zeros((tags.shape[1], tfidf.shape[1]))
    bias = np.full(tags.shape[1], -1.0)
    for tag in np.flatnonzero(tags.any(axis=0)):
        machine = LinearSVC(C=strength, random_state=0).fit(tfidf, tags[:, tag])
        kernel[tag], bias[tag] = machine.coef_[0], machine.intercept_[0]
    return lambda rows: rows @ kernel.T + bias


def _first_right(margins: np.ndarray, tags: np.ndarray) -> float:
    """How often the tag of the largest margin is true."""
    return float(tags[np.arange(len(tags)), margins.argmax(axis=1)].mean())


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the options and measures; returns the exit code."""
    from configs import documents_arms
    from dsh_jax.training import workdir

    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("collection", choices=list(documents_arms.SOURCES))
    parser.add_argument("data_dir", help="where its archive is")
    parser.add_argument("--draws", type=int, default=3, help="how many, from 0 on (3)")
    options = parser.parse_args(arguments)
    config = documents_arms.untuned(options.collection, "rotated")
    config.data.data_dir = options.data_dir
    draws = [measure(config, draw) for draw in range(options.draws)]
    rows = [name for name, value in draws[0].items() if isinstance(value, dict)]
    means = {
        name: {score: float(np.mean([draw[name][score] for draw in draws]))
               for score in draws[0][name]}
        for name in rows
    }  # fmt: skip
    command = workdir.command_line()
    content = {"run": workdir.describe_run(command, []), "mean": means, "draws": draws}
    path = Path(f"results/ceilings/documents_{options.collection}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
    for name, scores in means.items():
        print(f"{name:26} {scores}")
    return 0


if __name__ == "__main__":
    sys.exit(processes.guarded(main))
