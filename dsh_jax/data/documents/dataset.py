"""Documents as a data set of words: short rows of indices and weights for the networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import scipy  # loads scipy.sparse when it is first used

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.documents.collections import Documents
from dsh_jax.data.documents.rows import word_rows
from dsh_jax.data.documents.vocabulary import Vocabulary
from dsh_jax.data.signature import WordInputs


@dataclass(frozen=True, eq=False, kw_only=True)
class WordDataset(Dataset):
    """Documents as the words that they have.

    Attributes:
      counts: of words, int32 CSR `[n, words]`.
      tfidf: float32 CSR `[n, words]`, with the same words in the same order; rows of norm 1, or 0
        for a document without known words.
    """

    counts: scipy.sparse.csr_array
    tfidf: scipy.sparse.csr_array

    @cached_property
    def has_words(self) -> np.ndarray:
        """Whether a document has a word of the vocabulary, bool `[n]`."""
        return np.diff(self.counts.indptr) > 0

    def remarks(self) -> list[str]:
        """The size of the vocabulary, and how many documents have no word of it."""
        unknown = int((~self.has_words).sum())
        words = f"vocabulary  {self.counts.shape[1]:,} words"
        words += f"; {unknown:,} documents have none of them" * bool(unknown)
        return [words, *super().remarks()]

    def take(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """The words of some documents; see `rows.word_rows`."""
        return word_rows(self.tfidf[ids], self.counts[ids])

    def features(self, ids: np.ndarray) -> scipy.sparse.csr_array:
        """tf-idf, float32 CSR `[m, words]`."""
        return self.tfidf[ids]

    def encoding_order(self, ids: np.ndarray) -> np.ndarray:
        """Documents in order of length, because a batch is as wide as its longest, `[m]`."""
        return np.argsort(np.diff(self.counts.indptr)[ids], kind="stable")


@dataclass(frozen=True, eq=False, kw_only=True)
class TextDataset(WordDataset, Documents):
    """Texts and their words.

    Attributes:
      vocabulary: fitted on training documents only.
    """

    vocabulary: Vocabulary

    @property
    def inputs(self) -> WordInputs:
        """How a text becomes a network's input."""
        return WordInputs(self.vocabulary)


def as_dataset(documents: Documents, vocabulary: Vocabulary) -> TextDataset:
    """Documents with their words counted."""
    counts = vocabulary.counts(documents.texts)
    return TextDataset(
        **{field.name: getattr(documents, field.name) for field in fields(Documents)},
        vocabulary=vocabulary,
        counts=counts,
        tfidf=vocabulary.tfidf_of(counts),
    )


def snippet(text: str, length: int) -> str:
    """The beginning of a text on one line, cut between words."""
    words: Sequence[str] = text.split()
    line = " ".join(words[: length // 2 + 1])
    return line if len(line) <= length else line[:length].rsplit(" ", 1)[0] + " …"
