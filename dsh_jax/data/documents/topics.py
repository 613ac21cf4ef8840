"""Topics of documents: LDA, fitted once and cached under a digest of its inputs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy  # loads scipy.sparse when it is first used

from dsh_jax.data.documents import lda
from dsh_jax.files import replacing


@dataclass(frozen=True, eq=False)
class Topics:
    """Topics of a vocabulary.

    Attributes:
      words: each topic's probabilities of the words, float32 `[words, topics]`.
    """

    words: np.ndarray

    def __post_init__(self) -> None:
        if self.words.ndim != 2 or 0 in self.words.shape or self.words.dtype != np.float32:
            raise ValueError(f"words must be float32 [words, topics], got {self.words.dtype} "
                             f"{self.words.shape}")  # fmt: skip


def learn_topics(
    counts: scipy.sparse.csr_array,
    *,
    num_topics: int,
    seed: int,
    iterations: int,
    cache: Path | None,
) -> Topics:
    """Fits LDA; see `lda.fit_lda`.

    Args:
      counts: of words in the training documents, CSR `[n, words]`.
      num_topics: at least 1, at most the number of words and the number of documents with words.
      seed: of the order of the documents and of the initial topics.
      iterations: passes over the documents, >= 1.
      cache: a folder of fitted topics: those of the same inputs are reused, and new ones are saved
        there; None always fits.

    Raises:
      ValueError: `num_topics` or `iterations` is out of range.
    """
    counts = _normalised(counts)
    check_num_topics(counts, num_topics)
    if iterations < 1:
        raise ValueError(f"topics.iterations is {iterations}: choose at least 1.")
    options = {"num_topics": num_topics, "seed": seed, "passes": iterations}
    path = None if cache is None else cache / f"{_digest(counts, options)}.npz"
    topics = None if path is None else _load(path, (counts.shape[1], num_topics))
    if topics is None:
        topics = Topics(lda.fit_lda(counts, **options))
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
    """The shares of topics in documents.

    Args:
      topics: what `learn_topics` returned.
      counts: CSR `[m, words]`.

    Returns:
      float64 `[m, topics]`, rows sum to 1; uniform for a document without words.

    Raises:
      ValueError: the counts are of another vocabulary.
    """
    if counts.shape[1] != len(topics.words):
        raise ValueError(f"counts must be [m, {len(topics.words)}], got {counts.shape}")
    return lda.infer_shares(topics.words, _normalised(counts))


def _normalised(counts: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """The same matrix in float64, without stored zeros and with sorted columns."""
    counts = scipy.sparse.csr_array(counts, dtype=np.float64, copy=True)
    counts.sum_duplicates()
    counts.eliminate_zeros()
    return counts


def _digest(counts: scipy.sparse.csr_array, options: dict[str, int]) -> str:
    """SHA-256 of all that determines the topics: counts, options and the model's version."""
    content = ["collapsed LDA", lda.VERSION, counts.shape, options]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for array, dtype in ((counts.indptr, "<i8"), (counts.indices, "<i8"), (counts.data, "<f8")):
        digest.update(array.astype(dtype).tobytes())
    return digest.hexdigest()


def _load(path: Path, shape: tuple[int, int]) -> Topics | None:
    """What `_save` wrote; None if it is missing, damaged or of another shape."""
    try:
        # np.load may leak a file that it opens itself.
        with path.open("rb") as file, np.load(file) as arrays:
            topics = Topics(arrays["words"])
    except Exception:  # NumPy and zipfile raise many types for a damaged file
        return None
    return topics if topics.words.shape == shape else None


def _save(topics: Topics, path: Path) -> None:
    with replacing(path) as beside, beside.open("wb") as file:
        np.savez(file, words=topics.words)
