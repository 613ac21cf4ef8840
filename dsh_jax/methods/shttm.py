"""SHTTM: codes that explain tags and stay near topics, and a linear hash function for them.

Wang, Zhang & Si: "Semantic Hashing using Tags and Topic Modeling", SIGIR 2013. Solved in closed
form by alternating least squares: there are no steps and no batches.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy  # loads its modules when they are first used
from ml_collections import ConfigDict

from dsh_jax import fields, hamming
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.signature import Signature
from dsh_jax.data.splits.split import Split
from dsh_jax.fields import Choice, Integer, Number, Rules, Switch
from dsh_jax.methods import shttm_improvements
from dsh_jax.methods.base import (
    Fitted,
    Method,
    Network,
    NetworkRecipe,
    Recipe,
    Report,
    State,
    Variables,
)
from dsh_jax.methods.shttm_codes import learn_codes
from dsh_jax.methods.shttm_hash import fit_hash_function, medians
from dsh_jax.methods.word_players import (
    DOCUMENTS,
    TOPIC_FIELDS,
    topic_model,
    word_network,
    word_players,
)
from dsh_jax.networks.words import LinearHash
from dsh_jax.retrieval.baselines import itq_rotation

FIELDS: Rules = {
    "codes.present": Number(above=0),
    "codes.missing": Number(above=0),
    "codes.tag_ridge": Number(above=0),
    "codes.topic_weight": Number(above=0),
    "codes.hash_ridge": Number(above=0),
    "codes.iterations": Integer(1, 10**9),
    "codes.tolerance": Number(least=0),
    "codes.dtype": Choice(("float32", "float64")),
    "codes.rotation": Switch(),
    "codes.rotation_iterations": Integer(0, 10**9),
    "codes.fitted_to": Choice(("codes", "function")),
    "codes.thresholds": Choice(("median", "mean")),
    "codes.database_codes": Choice(("function", "learned")),
    **TOPIC_FIELDS,
}


def build(config: ConfigDict, signature: Signature) -> Method:
    """SHTTM as a config describes it.

    Args:
      config: of an experiment, with its fields checked.
      signature: of the data.
    """
    players = word_players({"hash": LinearHash(signature.num_words, config.num_bits)}, "hash")
    return Method(
        codes="shttm_rotated" if config.codes.rotation else "shttm",
        network=network(config, signature),
        init=lambda key: players.init(key, {}, {}, ()),
        fit=lambda dataset, split, report: fit(config, dataset, split, report),
    )


def network(config: ConfigDict, signature: Signature) -> Network:
    """The hash function."""
    made = word_network(LinearHash(signature.num_words, config.num_bits), "hash")
    return replace(made, encode_sparse=encode_sparse)


def encode_sparse(variables: Variables, tfidf: scipy.sparse.csr_array) -> np.ndarray:
    """What `LinearHash` makes of tf-idf `[m, words]`: relaxed codes, float32 `[m, num_bits]`."""
    params = {name: np.asarray(array) for name, array in variables["hash"]["params"].items()}
    return scipy.special.expit(tfidf @ params["kernel"] - params["threshold"])


def fit(config: ConfigDict, dataset: Dataset, split: Split, report: Report) -> Fitted:
    """Learns topics, codes, thresholds and the hash function.

    Training documents without tags are included; their codes are pulled only to their topics.

    Args:
      config: of an experiment.
      dataset, split: documents and their roles.
      report: takes an iteration's number and its metrics.

    Raises:
      UserError: the documents support fewer topics than bits.
      ValueError: weights are too far apart.
    """
    ids = split.training
    features = dataset.features(ids)
    tags = dataset.multi_hot(ids)
    learned = learn_codes(
        tags,
        topic_model(config, dataset, ids)(ids),
        **code_options(config.codes),
        **shttm_improvements.options(config, tags),
        report=lambda iteration, objective: report(iteration, {"objective": objective}),
    )
    kernel = fit_hash_function(features, learned.codes, ridge=float(config.codes.hash_ridge))
    rotation, threshold = binarisation(
        config.codes, learned.codes, kernel, features, seed=config.seed
    )
    keeps_codes = config.codes.database_codes == "learned"
    return Fitted(
        state_of(kernel @ rotation, threshold, len(learned.objectives)),
        binarised(learned.codes, rotation, threshold) if keeps_codes else None,
    )


def code_options(settings: ConfigDict) -> dict[str, Any]:
    """The keywords of `learn_codes` among the fields `codes` of a config."""
    weights = ("present", "missing", "tag_ridge", "topic_weight", "tolerance")
    others = {"iterations": settings.iterations, "dtype": settings.dtype}
    return {**fields.floats({name: settings[name] for name in weights}), **others}


def binarisation(
    settings: ConfigDict,
    codes: np.ndarray,
    kernel: np.ndarray,
    features: scipy.sparse.csr_array,
    *,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Finds a rotation of codes, if `settings.rotation` is on, and the thresholds of its bits.

    Args:
      settings: the fields `codes` of a config.
      codes: learned, `[n, num_bits]`.
      kernel: of the hash function, `[words, num_bits]`.
      features: tf-idf of the same documents, `[n, words]`.
      seed: of the initial rotation.

    Returns:
      The rotation `[num_bits, num_bits]`, by which codes and kernel are to be multiplied, and the
      thresholds `[num_bits]`.
    """
    fitted_to = codes if settings.fitted_to == "codes" else features @ kernel
    rotation = np.eye(codes.shape[1])
    if settings.rotation:
        centred = fitted_to - fitted_to.mean(axis=0)
        # ITQ compares with signs, of magnitude 1: scale the codes to match.
        rotation, _ = itq_rotation(
            centred / max(float(centred.std()), 1e-12),
            seed=seed,
            iterations=settings.rotation_iterations,
        )
        fitted_to = fitted_to @ rotation
    median = settings.thresholds == "median"
    return rotation, medians(fitted_to) if median else fitted_to.mean(axis=0)


def binarised(codes: np.ndarray, rotation: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """Learned codes `[n, num_bits]` by what `binarisation` returned, packed."""
    return hamming.pack((codes @ rotation > threshold).astype(np.uint8))


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


NETWORK_FIELDS: Rules = {"num_bits": Integer(1, 65536)}
RECIPE = Recipe(
    build, FIELDS, NetworkRecipe(DOCUMENTS, NETWORK_FIELDS, network),
    optional=shttm_improvements.OPTIONAL,
)  # fmt: skip
