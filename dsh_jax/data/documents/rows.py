"""Words of documents as short rows of indices and weights, the input of the networks."""

from __future__ import annotations

import numpy as np
import scipy  # loads scipy.sparse when it is first used

_LEAST_WIDTH = 32


def word_rows(
    tfidf: scipy.sparse.csr_array, counts: scipy.sparse.csr_array
) -> dict[str, np.ndarray]:
    """The words of some documents, as rows padded with word 0 at weight 0.

    Args:
      tfidf: float32 CSR `[m, words]`.
      counts: int32 CSR `[m, words]`, with the same words in the same order.

    Returns:
      word: int32 `[m, width]`, indices in the vocabulary. The width is a power of two, so that
        batches have few shapes and few need compilation.
      tfidf, count: float32 `[m, width]`, for these words.
    """
    lengths = np.diff(tfidf.indptr)
    width = _LEAST_WIDTH
    while width < lengths.max(initial=0):
        width *= 2
    taken = np.arange(width) < lengths[:, None]
    word = np.zeros(taken.shape, np.int32)
    weight, count = np.zeros(taken.shape, np.float32), np.zeros(taken.shape, np.float32)
    word[taken], weight[taken], count[taken] = tfidf.indices, tfidf.data, counts.data
    return {"word": word, "tfidf": weight, "count": count}


def sparse_rows(
    word: np.ndarray, tfidf: np.ndarray, num_words: int
) -> scipy.sparse.csr_array:
    """The tf-idf that `word_rows` was given.

    Args:
      word, tfidf: what it returned, `[m, width]`.
      num_words: of the vocabulary.

    Returns:
      float32 CSR `[m, num_words]`.
    """
    taken = tfidf > 0  # all but the padding
    starts = np.append(0, np.cumsum(taken.sum(axis=1)))
    return scipy.sparse.csr_array((tfidf[taken], word[taken], starts), (len(word), num_words))
