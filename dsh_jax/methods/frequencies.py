"""Decoders of words and tags that begin with how frequent these are."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.documents.dataset import WordDataset
from dsh_jax.methods.base import State


def with_frequencies(
    word_weights: str, state: State, dataset: Dataset, ids: np.ndarray
) -> State:
    """The state before the first step, with decoders that know how frequent words and tags are.

    For words they are logarithms of frequencies, which stay; for tags, log-odds at which biases
    begin. Learned from 0, they take most of a short training, in which codes stand in for them.

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
    # As if each word stood once more in the data, and each tag half a time more.
    often = np.asarray(rows.sum(axis=0)).ravel() + rows.sum() / rows.nnz
    unigram = jnp.asarray(np.log(often / often.sum()), jnp.float32)
    words = {**state.batch_stats["words"], "unigram": unigram}
    state = replace(state, batch_stats={**state.batch_stats, "words": words})
    if "tags" not in state.params:
        return state
    tags = dataset.multi_hot(ids)
    tags = tags[tags.any(axis=1)]
    share = (tags.sum(axis=0) + 0.5) / (len(tags) + 1)
    odds = jnp.asarray(np.log(share / (1 - share)), jnp.float32)
    factors = {**state.params["tags"]["factors"], "bias": odds}
    return replace(state, params={**state.params, "tags": {"factors": factors}})
