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

    Their biases are logarithms of frequencies, for words, and log-odds, for tags. Learned from 0,
    they would take most of a short training, in which codes stand in for them.

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
    biases = {"words": ("topics", np.log(often / often.sum()))}
    if "tags" in state.params:
        tags = dataset.multi_hot(ids)
        tags = tags[tags.any(axis=1)]
        share = (tags.sum(axis=0) + 0.5) / (len(tags) + 1)
        biases["tags"] = ("factors", np.log(share / (1 - share)))
    params = dict(state.params)
    for player, (layer, bias) in biases.items():
        dense = {**params[player][layer], "bias": jnp.asarray(bias, jnp.float32)}
        params[player] = {**params[player], layer: dense}
    return replace(state, params=params)
