"""SHTTM: codes that explain tags and stay near topics, and a linear hash function that finds them.

Wang, Zhang & Si: "Semantic Hashing using Tags and Topic Modeling", SIGIR 2013. All of it is solved
in closed form, by turns: there are no steps and no batches.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from flax import linen as nn
from ml_collections import ConfigDict

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.documents.dataset import TextDataset
from dsh_jax.data.documents.topics import infer_topics, learn_topics
from dsh_jax.data.splits.split import Split
from dsh_jax.devices import Batch
from dsh_jax.errors import UserError
from dsh_jax.methods.base import Method, Report, State, check_choices
from dsh_jax.methods.shttm_codes import fit_hash_function, learn_codes, medians
from dsh_jax.networks.words import bag
from dsh_jax.retrieval.baselines import itq_rotation


def build(config: ConfigDict, dataset: Dataset) -> Method:
    """SHTTM as a config describes it.

    Args:
      config: a whole experiment's config.
      dataset: documents; only the size of its vocabulary is read here.

    Raises:
      UserError: images, or a field whose value cannot be.
    """
    dataset = require_text(config, dataset)
    check_choices(
        {
            "codes.dtype": (config.codes.dtype, ("float32", "float64")),
            "codes.fitted_to": (config.codes.fitted_to, ("codes", "function")),
            "codes.thresholds": (config.codes.thresholds, ("median", "mean")),
        }
    )
    shape = (len(dataset.vocabulary.words), config.num_bits)

    def init(key: jax.Array) -> State:
        del key  # nothing is drawn
        return state_of(np.zeros(shape), np.zeros(shape[1]), 0)

    return Method(
        codes="shttm_rotated" if config.codes.rotation else "shttm",
        stages=(),
        init=init,
        encode=encode,
        classify=None,
        synthesize=None,
        learn_targets=None,
        fit=lambda dataset, split, report: fit(config, dataset, split, report),
        shared={},
    )


def require_text(config: ConfigDict, dataset: Dataset) -> TextDataset:
    """The data set, if it holds documents.

    Raises:
      UserError: it does not.
    """
    if not isinstance(dataset, TextDataset):
        raise UserError(
            f"method {config.method!r} takes documents, but {dataset.name} has none; set "
            "data.source to reuters21578, 20newsgroups or jsonl."
        )
    return dataset


def topic_model(
    config: ConfigDict, dataset: TextDataset, training: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """LDA learned from the training documents: ids `[m]` -> shares of topics `[m, num_bits]`.

    Raises:
      UserError: the documents do not support as many topics as bits.
    """
    topics = learn_topics(
        dataset.counts[training],
        num_topics=config.num_bits,
        seed=config.topics.seed,
        iterations=config.topics.iterations,
        cache=Path(config.topics.cache).expanduser() if config.topics.cache else None,
    )
    return lambda ids: infer_topics(topics, dataset.counts[ids])


def fit(config: ConfigDict, dataset: Dataset, split: Split, report: Report) -> State:
    """Learns topics, codes, thresholds and the hash function.

    Training documents without tags are among them: their topics alone pull their codes.

    Args:
      config: a whole experiment's config.
      dataset, split: documents and their roles.
      report: takes an iteration's number and its metrics.

    Raises:
      UserError: a field whose value cannot be.
    """
    dataset = require_text(config, dataset)
    ids = split.training
    features = dataset.features(ids)
    learned = learn_codes(
        dataset.multi_hot(ids),
        topic_model(config, dataset, ids)(ids),
        **code_options(config.codes),
        report=lambda iteration, objective: report(iteration, {"objective": objective}),
    )
    kernel = fit_hash_function(features, learned.codes, ridge=config.codes.hash_ridge)
    kernel, threshold = binarisation(
        config.codes, learned.codes, kernel, features, seed=config.seed
    )
    return state_of(kernel, threshold, len(learned.objectives))


def code_options(settings: ConfigDict) -> dict[str, Any]:
    """The keywords of `learn_codes` among the fields `codes` of a config."""
    names = ("present", "missing", "tag_ridge", "topic_weight", "iterations", "tolerance", "dtype")
    return {name: settings[name] for name in names}


def binarisation(
    settings: ConfigDict,
    codes: np.ndarray,
    kernel: np.ndarray,
    features: sp.csr_array,
    *,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Rotates the hash function, if that is asked for, and finds the thresholds of its bits.

    Args:
      settings: the fields `codes` of a config.
      codes: learned, `[n, num_bits]`.
      kernel: of the hash function, `[words, num_bits]`.
      features: tf-idf of the same documents, `[n, words]`.
      seed: of the rotation to start from.

    Returns:
      The rotated kernel and the thresholds `[num_bits]`.
    """
    fitted_to = codes if settings.fitted_to == "codes" else features @ kernel
    if settings.rotation:
        centred = fitted_to - fitted_to.mean(axis=0)
        # ITQ compares with signs of length 1: bring the codes to that length.
        rotation, _ = itq_rotation(
            centred / max(float(centred.std()), 1e-12),
            seed=seed,
            iterations=settings.rotation_iterations,
        )
        kernel, fitted_to = kernel @ rotation, fitted_to @ rotation
    return kernel, medians(fitted_to) if settings.thresholds == "median" else fitted_to.mean(axis=0)


def encode(state: State, inputs: Batch) -> jax.Array:
    """Relaxed codes `[batch, num_bits]` of `word` and `tfidf`, `[batch, width]`."""
    outputs = bag(state.params["hash"]["kernel"], inputs["word"], inputs["tfidf"])
    return nn.sigmoid(outputs - state.params["hash"]["threshold"])


def state_of(kernel: np.ndarray, threshold: np.ndarray, step: int) -> State:
    """The state after `step` iterations: a hash function and its thresholds."""
    arrays = {"kernel": kernel, "threshold": threshold}
    return State(
        step=jnp.asarray(step, jnp.int32),
        params={"hash": {name: jnp.asarray(x, jnp.float32) for name, x in arrays.items()}},
        batch_stats={},
        opt_state={},
        ema={},
    )
