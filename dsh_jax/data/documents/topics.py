"""Topics of documents: LDA, fitted once and cached under a digest of its inputs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy  # loads scipy.sparse when it is first used

from dsh_jax.files import replacing
from dsh_jax.rng import stream_rng

if TYPE_CHECKING:  # slow to import
    from sklearn.decomposition import LatentDirichletAllocation


@dataclass(frozen=True, eq=False)
class Topics:
    """Topics of a vocabulary.

    Attributes:
      components: parameters of each topic's Dirichlet distribution over words, pseudo-counts of
        the words; float64 `[topics, words]`.
      word_weights: exp(E[log p(word | topic)]) under these distributions, used to infer topics;
        float64 `[topics, words]`. It follows from `components`, but only scikit-learn's own
        rounding of the digamma function gives the same topics to the last bit.
    """

    components: np.ndarray
    word_weights: np.ndarray

    def __post_init__(self) -> None:
        shape = self.components.shape
        if len(shape) != 2 or 0 in shape or self.word_weights.shape != shape:
            raise ValueError(f"components {shape}, word_weights {self.word_weights.shape}")


def learn_topics(
    counts: scipy.sparse.csr_array,
    *,
    num_topics: int,
    seed: int,
    iterations: int,
    cache: Path | None,
) -> Topics:
    """Fits LDA by online variational Bayes.

    Source: Hoffman, Blei & Bach, "Online learning for latent Dirichlet allocation" (NIPS 2010).

    Args:
      counts: of words in the training documents, CSR `[n, words]`.
      num_topics: at least 1, at most the number of words and the number of documents with words.
      seed: of the order of the documents and of the initial topics.
      iterations: passes over the documents, >= 1.
      cache: a folder of fitted topics: those of the same inputs are reused, and new ones are saved
        there; None always fits.

    Raises:
      ValueError: `num_topics` is out of range, or scikit-learn rejects `iterations` or `counts`.
    """
    counts = _normalised(counts)
    check_num_topics(counts, num_topics)
    from sklearn.decomposition import LatentDirichletAllocation

    lda = LatentDirichletAllocation(
        num_topics,
        max_iter=iterations,
        random_state=seed,
        learning_method="online",
        batch_size=256,  # on Reuters-21578 better on unseen text than 128 or 512, and as fast
    )
    path = None if cache is None else cache / f"{_digest(counts, lda)}.npz"
    topics = None if path is None else _load(path, (num_topics, counts.shape[1]))
    if topics is None:
        # Collections come sorted by class or date, and the last batches weigh the most.
        order = stream_rng(seed, "topics", 0).permutation(counts.shape[0])
        lda.fit(counts[order])
        topics = Topics(lda.components_, lda.exp_dirichlet_component_)
        if path is not None:
            _save(topics, path)
    return topics


def check_num_topics(counts: scipy.sparse.csr_array, num_topics: int) -> None:
    """Refuses more topics than documents or words.

    Args:
      counts: of words in the training documents, CSR `[n, words]`.
      num_topics: as for `learn_topics`.

    Raises:
      ValueError: `num_topics` is out of range.
    """
    with_words = int(np.count_nonzero(np.diff(counts.indptr)))
    most = min(with_words, counts.shape[1])
    if not 1 <= num_topics <= most:
        raise ValueError(
            f"num_bits is {num_topics}, but {with_words} training documents with words and a "
            f"vocabulary of {counts.shape[1]} words support 1 to {most} topics: choose num_bits "
            f"in that range, or give more training documents or a larger vocabulary."
        )


def infer_topics(topics: Topics, counts: scipy.sparse.csr_array) -> np.ndarray:
    """The shares of topics in documents, as by scikit-learn's `transform` of the fitted model.

    Args:
      topics: what `learn_topics` returned.
      counts: CSR `[m, words]`, m >= 1.

    Returns:
      float64 `[m, topics]`, rows sum to 1; uniform for a document without words.
    """
    from sklearn.decomposition import LatentDirichletAllocation

    lda = LatentDirichletAllocation(len(topics.components))
    # All attributes that `transform` reads; scikit-learn documents each of them.
    lda.components_ = topics.components
    lda.exp_dirichlet_component_ = topics.word_weights
    lda.doc_topic_prior_ = 1 / len(topics.components)
    lda.n_features_in_ = topics.components.shape[1]
    return lda.transform(_normalised(counts))


def _normalised(counts: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """The same matrix in float64, without stored zeros and with sorted columns."""
    counts = scipy.sparse.csr_array(counts, dtype=np.float64, copy=True)
    counts.sum_duplicates()
    counts.eliminate_zeros()
    return counts


def _digest(counts: scipy.sparse.csr_array, lda: LatentDirichletAllocation) -> str:
    """SHA-256 of all that determines the topics: counts, options and scikit-learn's version."""
    import sklearn

    options = [counts.shape, lda.get_params(), sklearn.__version__]
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    for array, dtype in ((counts.indptr, "<i8"), (counts.indices, "<i8"), (counts.data, "<f8")):
        digest.update(array.astype(dtype).tobytes())
    return digest.hexdigest()


def _load(path: Path, shape: tuple[int, int]) -> Topics | None:
    """What `_save` wrote; None if it is missing, damaged or of another shape."""
    try:
        # np.load may leak a file that it opens itself.
        with path.open("rb") as file, np.load(file) as arrays:
            topics = Topics(arrays["components"], arrays["word_weights"])
    except Exception:  # NumPy and zipfile raise many types for a damaged file
        return None
    return topics if topics.components.shape == shape else None


def _save(topics: Topics, path: Path) -> None:
    with replacing(path) as beside, beside.open("wb") as file:
        np.savez(file, components=topics.components, word_weights=topics.word_weights)
