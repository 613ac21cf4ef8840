"""LDA by stochastic collapsed variational Bayes: what topics say of words, and documents of topics.

A document's share of topic k is proportional to N_k + 1/K, and a topic's probability of a word to
its expected count + 1/K. Expected counts of a batch need no digamma function, only two products
with its sparse counts, which makes a pass several times as fast as variational Bayes; it also
predicts unseen words better.

Sources: Foulds et al., "Stochastic collapsed variational Bayesian inference for latent Dirichlet
allocation" (KDD 2013), where a document's words are updated one by one, and here all at once;
Asuncion et al., "On smoothing and inference for topic models" (UAI 2009).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy  # loads scipy.sparse when it is first used

from dsh_jax.rng import stream_rng

VERSION = 1
"""Of the model; with another one, the same inputs give other topics."""

_MOST_IN_BATCH, _LEAST_IN_BATCH, _BATCHES = 256, 16, 64  # a small collection has small batches
_BLOCK_ELEMENTS = 2**20  # of an array [words of some documents, topics]: it fits in a cache
_UPDATES = 5  # of a document's shares in training, where they need not have converged
_FINAL_UPDATES = 20
_DELAY, _DECAY = 10.0, 0.7  # of the learning rate (delay + batch)^-decay


def fit_lda(
    counts: scipy.sparse.csr_array, *, num_topics: int, seed: int, passes: int
) -> np.ndarray:
    """Fits the topics' distributions over words.

    Args:
      counts: of words in the training documents, CSR `[n, words]`.
      num_topics: >= 1.
      seed: of the order of the documents and of the initial topics.
      passes: over the documents, >= 1.

    Returns:
      Probabilities of words, float32 `[words, topics]`; columns sum to 1.
    """
    rng = stream_rng(seed, "topics", 0)
    n, num_words = counts.shape
    # Collections come sorted by class or date, and the last batches weigh the most.
    counts = counts[rng.permutation(n)].astype(np.float32)
    size = min(max(n // _BATCHES, _LEAST_IN_BATCH), _MOST_IN_BATCH)
    prior = np.float32(1 / num_topics)
    expected = rng.gamma(100.0, 0.01, (num_words, num_topics)).astype(np.float32)
    words = expected / expected.sum(axis=0)
    number = 0
    for _ in range(passes):
        for first in range(0, n, size):
            batch = counts[first : first + size]
            found = np.zeros_like(words)
            for rows in _blocks(batch, num_topics):
                shares, ratios = _document_shares(batch[rows], words, _UPDATES)
                found += ratios.T @ shares
            rate = np.float32((_DELAY + number) ** -_DECAY)
            scale = np.float32(n / batch.shape[0])
            expected = (1 - rate) * expected + rate * (prior + scale * words * found)
            words = expected / expected.sum(axis=0)
            number += 1
    return words


def infer_shares(words: np.ndarray, counts: scipy.sparse.csr_array) -> np.ndarray:
    """The shares of topics in documents, each read by itself.

    Args:
      words: what `fit_lda` returned, `[words, topics]`.
      counts: CSR `[m, words]`.

    Returns:
      float64 `[m, topics]`, rows sum to 1; uniform for a document without words.
    """
    shares = np.empty((counts.shape[0], words.shape[1]))
    for rows in _blocks(counts, words.shape[1]):
        shares[rows], _ = _document_shares(counts[rows].astype(np.float32), words, _FINAL_UPDATES)
    return shares / shares.sum(axis=1, keepdims=True)


def _blocks(counts: scipy.sparse.csr_array, num_topics: int) -> Iterator[slice]:
    """Rows to take at a time, so that documents of any length fit in memory."""
    first, starts = 0, counts.indptr
    while first < counts.shape[0]:
        end = starts[first] + _BLOCK_ELEMENTS // num_topics
        last = max(int(np.searchsorted(starts, end, side="right")) - 1, first + 1)
        yield slice(first, last)
        first = last


def _document_shares(
    counts: scipy.sparse.csr_array, words: np.ndarray, updates: int
) -> tuple[np.ndarray, scipy.sparse.csr_array]:
    """Shares of topics `[m, topics]`, not normalised, and counts over their expectations by them.

    Args:
      counts: float32 CSR `[m, words]`.
      words: float32 `[words, topics]`.
      updates: of the shares, from equal ones.
    """
    num_topics = words.shape[1]
    lengths, of_counts = np.diff(counts.indptr), words[counts.indices]
    ratios = counts.copy()

    def divide(shares: np.ndarray) -> None:
        of_shares = np.repeat(shares, lengths, axis=0)
        ratios.data = counts.data / np.einsum("nk,nk->n", of_shares, of_counts)

    shares = np.ones((counts.shape[0], num_topics), np.float32)
    divide(shares)
    for _ in range(updates):
        shares = shares * (ratios @ words) + np.float32(1 / num_topics)
        divide(shares)
    return shares, ratios
