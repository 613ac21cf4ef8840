"""Decoders of words and tags that begin with how frequent these are.

Learned from 0, frequencies take most of a short training, in which codes stand in for them.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.documents.dataset import WordDataset
from dsh_jax.methods.base import State


def log_frequencies(rows: Any) -> jax.Array:
    """Logarithms of the frequencies of words, as if each stood once more in the data.

    Args:
      rows: sparse, what each word of a document counts, `[n, words]`.

    Returns:
      float32 `[words]`; the frequencies sum to 1.
    """
    often = np.asarray(rows.sum(axis=0)).ravel() + rows.sum() / max(rows.nnz, 1)
    return jnp.asarray(np.log(often / often.sum()), jnp.float32)


def with_tag_odds(state: State, dataset: Dataset, ids: np.ndarray, missing: float = 1.0) -> State:
    """The state with biases of the `TagDecoder` "tags" that are log-odds of the tags.

    Args:
      state: as it is initialised.
      dataset: with tags.
      ids: of the training items, `[n]`; those without any tag do not count.
      missing: what a missing tag weighs in the loss, relative to a present one.
    """
    tags = dataset.multi_hot(ids)
    tags = tags[tags.any(axis=1)]
    share = (tags.sum(axis=0) + 0.5) / (len(tags) + 1)  # as if each stood half a time more
    odds = jnp.asarray(np.log(share / (1 - share) / missing), jnp.float32)
    decoder = state.params["tags"]
    decoder = {**decoder, "factors": {**decoder["factors"], "bias": odds}}
    return replace(state, params={**state.params, "tags": decoder})


def with_frequencies(
    word_weights: str, state: State, dataset: Dataset, ids: np.ndarray
) -> State:
    """The state before the first step, with decoders that know how frequent words and tags are.

    Args:
      word_weights: what a word of a document counts, "count", "presence" or "tfidf".
      state: as it is initialised, with the players "words", a `TopicDecoder`, and perhaps "tags",
        a `TagDecoder`.
      dataset: of documents.
      ids: of the training documents, `[n]`.
    """
    assert isinstance(dataset, WordDataset)
    rows = (dataset.tfidf if word_weights == "tfidf" else dataset.counts)[ids]
    if word_weights == "presence":
        rows = rows.minimum(1)
    words = {**state.batch_stats["words"], "unigram": log_frequencies(rows)}
    state = replace(state, batch_stats={**state.batch_stats, "words": words})
    return with_tag_odds(state, dataset, ids) if "tags" in state.params else state
