"""Times fitting SHTTM: `python -m benchmarks.fit_documents --data_dir DIR`.

The whole config of 20 Newsgroups, 32 bits, beside the same fit with scikit-learn's LDA (online
variational Bayes) and ridge regression (conjugate gradients, bit after bit) in the two places where
they fit. Processor time, so that ratios hold on a busy machine too. Both are judged on validation
documents: by the perplexity of one half of a document's words given the other half, with each of
the two ways to infer topics, and by the retrieval of validation documents among themselves. DIR
holds 20_newsgroups.tar.gz, or for `--corpus reuters` reuters21578.tar.gz.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from ml_collections import ConfigDict
from scipy.special import digamma
from sklearn.decomposition import LatentDirichletAllocation
from sklearn.linear_model import ridge_regression

from benchmarks.results import write_result
from configs import shttm_newsgroups_32bit, shttm_reuters_32bit
from dsh_jax import hamming
from dsh_jax.data.documents import lda
from dsh_jax.data.documents.dataset import TextDataset
from dsh_jax.data.documents.topics import learn_topics
from dsh_jax.methods import shttm
from dsh_jax.methods.shttm_codes import learn_codes
from dsh_jax.retrieval.counts import distance_counts, without_self
from dsh_jax.retrieval.ranking import average_precision, precision_at
from dsh_jax.rng import stream_rng
from dsh_jax.training.experiment import Experiment, prepare

CONFIGS = {"newsgroups": shttm_newsgroups_32bit, "reuters": shttm_reuters_32bit}
PASSES = 10  # of scikit-learn's LDA, in batches of 256


def peer_lda(counts: Any, config: ConfigDict) -> LatentDirichletAllocation:
    """scikit-learn's topics of the documents."""
    model = LatentDirichletAllocation(
        config.num_bits, max_iter=PASSES, random_state=config.topics.seed,
        learning_method="online", batch_size=256,
    )  # fmt: skip
    order = stream_rng(config.topics.seed, "topics", 0).permutation(counts.shape[0])
    return model.fit(counts[order])


def peer_fit(experiment: Experiment, model: LatentDirichletAllocation | None = None) -> Any:
    """The state that `shttm.fit` ends in, with scikit-learn's LDA and ridge regression."""
    config, dataset, ids = experiment.config, experiment.dataset, experiment.split.training
    counts, features = counts_of(dataset, ids), dataset.features(ids)
    model = peer_lda(counts, config) if model is None else model
    learned = learn_codes(
        dataset.multi_hot(ids), model.transform(counts), **shttm.code_options(config.codes)
    )
    ridge = float(config.codes.hash_ridge)
    kernel = ridge_regression(
        scipy.sparse.csr_matrix(features, dtype=float), learned.codes.astype(float), ridge,
        solver="sparse_cg", tol=1e-10,
    ).T  # fmt: skip
    rotation, threshold = shttm.binarisation(
        config.codes, learned.codes, kernel, features, seed=config.seed
    )
    return shttm.state_of(kernel @ rotation, threshold, len(learned.objectives))


def counts_of(dataset: Any, ids: np.ndarray) -> scipy.sparse.csr_array:
    """Counts of words in some documents, float64 CSR `[n, words]`."""
    assert isinstance(dataset, TextDataset)
    return scipy.sparse.csr_array(dataset.counts[ids], dtype=float)


def perplexities(experiment: Experiment, model: LatentDirichletAllocation) -> dict[str, list]:
    """Of one half of the words of validation documents given the other: ours, scikit-learn's.

    Args:
      experiment: of the config.
      model: scikit-learn's topics.
    """
    config, dataset, split = experiment.config, experiment.dataset, experiment.split
    assert isinstance(dataset, TextDataset)
    ours = learn_topics(
        dataset.counts[split.training], num_topics=config.num_bits, seed=config.topics.seed,
        iterations=config.topics.iterations, cache=None,
    ).words  # fmt: skip
    peers = model.components_.T / model.components_.sum(axis=1)
    counts = counts_of(dataset, split.validation)
    given, rest = counts.copy(), counts.copy()
    given.data = np.random.default_rng(0).binomial(counts.data.astype(int), 0.5).astype(float)
    rest.data = counts.data - given.data
    given.eliminate_zeros()
    rest = rest.tocoo()

    def by_peer(words: np.ndarray) -> np.ndarray:
        """Shares by scikit-learn, of topics that have as many words as the corpus."""
        words = words.T * (model.components_.sum() / config.num_bits)
        expected = digamma(words) - digamma(words.sum(axis=1, keepdims=True))
        model.components_, model.exp_dirichlet_component_ = words, np.exp(expected)
        return model.transform(given)

    def perplexity(words: np.ndarray, shares: np.ndarray) -> float:
        logs = np.log(np.einsum("nk,nk->n", shares[rest.row], words[rest.col]))
        return float(np.exp(-(rest.data * logs)[rest.data > 0].sum() / rest.data.sum()))

    both = (ours.astype(float), peers)
    return {
        "topics inferred by ours": [
            perplexity(words, lda.infer_shares(words.astype(np.float32), given)) for words in both
        ],
        "topics inferred by scikit-learn": [perplexity(words, by_peer(words)) for words in both],
    }


def scores(experiment: Experiment, state: Any) -> tuple[float, float]:
    """mAP and precision@100 of the validation documents among themselves."""
    dataset, ids = experiment.dataset, experiment.split.validation
    variables = {"hash": {"params": state.params["hash"]}}
    relaxed = shttm.encode_sparse(variables, dataset.features(ids))
    codes, labels = hamming.pack(hamming.binarize(relaxed)), dataset.labels[ids]
    counts = distance_counts(codes, labels, codes, labels, num_bits=experiment.config.num_bits)
    counts = without_self(counts, labels)
    return float(average_precision(counts).mean()), float(precision_at(counts, 100).mean())


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """A result, and the seconds of processor time that it took."""
    began = time.process_time()
    result = run()
    return result, time.process_time() - began


def main() -> None:
    """Reads the flags, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data_dir", required=True, help="holds the collection")
    parser.add_argument("--corpus", choices=list(CONFIGS), default="newsgroups")
    parser.add_argument("--draws", type=int, default=3, help="of seed and split")
    parser.add_argument("--result", type=Path, help="also write a JSON file")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for draw in range(options.draws):
        config = CONFIGS[options.corpus].get_config()
        config.data.data_dir, config.topics.cache = options.data_dir, ""
        config.seed = config.data.split_seed = config.topics.seed = draw
        experiment, reading = timed(lambda: prepare(config, Path(".")))  # noqa: B023
        counts = counts_of(experiment.dataset, experiment.split.training)

        def ours(experiment: Experiment = experiment) -> Any:
            assert experiment.method.fit is not None
            return experiment.method.fit(experiment.dataset, experiment.split, lambda *_: None)

        _, cold = timed(ours)  # compiles what both use
        fitted, warm = timed(ours)
        model, peer_topics = timed(lambda: peer_lda(counts, config))  # noqa: B023
        state, peer_rest = timed(lambda: peer_fit(experiment, model))  # noqa: B023
        peer = peer_topics + peer_rest
        rows.append({
            "ours": warm, "peer": peer, "ratio": peer / warm,
            "whole": (reading + cold - warm + peer) / (reading + cold),
            "scores": scores(experiment, fitted.state), "peer scores": scores(experiment, state),
            "perplexity": perplexities(experiment, model),
        })  # fmt: skip
        print(rows[-1], flush=True)
    about = experiment.dataset.name, len(experiment.split.training), config.num_bits
    figures = summary("{}, {:,} documents, {} bits".format(*about), rows)
    for label, text in figures.items():
        print(f"{label}: {text}")
    write_result(options.result, f"Fitting SHTTM, {options.corpus}", figures)


def summary(name: str, rows: list[dict[str, Any]]) -> dict[str, str]:
    """The figures of all draws, as text by what was measured."""

    def mean(field: str) -> float:
        return statistics.mean(row[field] for row in rows)

    def each(values: list[float], form: str) -> str:
        return " / ".join(format(value, form) for value in values)

    figures = {
        f"{name}: the fit": f"{mean('ours'):.1f} s of processor time",
        f"{name}: with scikit-learn's LDA and ridge regression": f"{mean('peer'):.1f} s; "
        f"{mean('ratio'):.1f} x ours, {mean('whole'):.1f} x with reading and compilation",
    }
    for place, score in enumerate(("mAP", "precision@100")):
        ours, peers = ([row[key][place] for row in rows] for key in ("scores", "peer scores"))
        figures[f"{name}: validation {score} by draw"] = (
            f"{each(ours, '.3f')}; with scikit-learn {each(peers, '.3f')}"
        )
    for way in rows[0]["perplexity"]:
        both = [row["perplexity"][way] for row in rows]
        ours, peers = ([pair[place] for pair in both] for place in (0, 1))
        figures[f"{name}: perplexity of unseen words, {way}"] = (
            f"{each(ours, '.0f')}; of scikit-learn's topics {each(peers, '.0f')}"
        )
    return figures


if __name__ == "__main__":
    main()
