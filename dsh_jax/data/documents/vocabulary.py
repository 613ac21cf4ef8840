"""Texts as counts and tf-idf of the words of a vocabulary, with one tokeniser."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy  # loads scipy.sparse when it is first used

LETTERS = r"(?u)\b[^\W\d_]{2,}\b"
"""The default pattern of a word: two letters or more, which touch no digit and no underscore."""

ANALYSERS = {"words": "word", "characters": "char_wb"}
"""What texts are cut into -> scikit-learn's name for it."""

if TYPE_CHECKING:  # scikit-learn is slow to import, and encoders of images need none
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The words that texts are described by, and the weight of each.

    Attributes:
      words: lower case, sorted, unique; column j of a matrix belongs to `words[j]`.
      idf: smoothed inverse document frequency, float64 `[words]`.
      token_pattern: the regular expression of a word in a text, which is made lower case before.
      analyser: of `ANALYSERS`; characters are those of a word between spaces, with a space at
        either end.
      ngrams: shortest and longest run of words or characters that counts as a word.
    """

    words: tuple[str, ...]
    idf: np.ndarray
    token_pattern: str = LETTERS
    analyser: str = "words"
    ngrams: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        if not self.words or self.words != tuple(sorted(set(self.words))):
            raise ValueError("words must be sorted, unique and not empty")
        if self.idf.shape != (len(self.words),) or not np.isfinite(self.idf).all():
            raise ValueError(f"idf must be {len(self.words)} finite numbers, got {self.idf.shape}")
        if self.analyser not in ANALYSERS or not 1 <= self.ngrams[0] <= self.ngrams[1]:
            raise ValueError(f"analyser {self.analyser!r} or ngrams {self.ngrams}")

    def counts(self, texts: Iterable[str]) -> scipy.sparse.csr_array:
        """How often each word is in each text, `[n]` -> int32 CSR `[n, words]`."""
        vectorizer = _vectorizer(
            self.token_pattern, self.analyser, self.ngrams, vocabulary=self.words
        )
        return scipy.sparse.csr_array(vectorizer.transform(texts))

    def tfidf_of(self, counts: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
        """tf-idf of the result of `counts`, with tf = 1 + log(count).

        Args:
          counts: CSR `[n, words]` without stored zeros.

        Returns:
          float32 CSR `[n, words]`, rows of length 1; zeros for a text of unknown words.

        Raises:
          ValueError: the counts are of another vocabulary.
        """
        if counts.shape[1] != len(self.words):
            raise ValueError(f"counts must be [n, {len(self.words)}], got {counts.shape}")
        transformer = _transformer()
        transformer.idf_ = self.idf
        return scipy.sparse.csr_array(transformer.transform(counts), dtype=np.float32)


def fit_vocabulary(
    texts: Iterable[str],
    *,
    max_words: int,
    min_documents: int,
    max_share: float,
    stop_words: str | Sequence[str] = "english",
    token_pattern: str = LETTERS,
    analyser: str = "words",
    ngrams: tuple[int, int] = (1, 1),
) -> Vocabulary:
    """Fits the most frequent words of some texts.

    Args:
      texts: training documents only, since the words and their idf are fitted to them.
      max_words: the largest number of words to keep, >= 1.
      min_documents: a word must be in at least this many texts, >= 1.
      max_share: a word may be in at most this share of the texts, in (0, 1].
      stop_words: words that are left out: "english" for scikit-learn's list of English ones, or
        texts that consist of them.
      token_pattern: a regular expression, with one group at most, which is then the word.
      analyser, ngrams: as for `Vocabulary`; characters know no stop words and no pattern.

    Raises:
      ValueError: an option is out of range, or no word is left.
    """
    for name, value, fits, bounds in (
        ("max_words", max_words, max_words >= 1, "at least 1"),
        ("min_documents", min_documents, min_documents >= 1, "at least 1"),
        ("max_share", max_share, 0 < max_share <= 1, "above 0 and at most 1"),
    ):
        if not fits:
            raise ValueError(f"data.{name} is {value}: it must be {bounds}.")
    vectorizer = _vectorizer(
        token_pattern,
        analyser,
        ngrams,
        stop_words=_stop_words(stop_words, token_pattern) if analyser == "words" else None,
        max_features=max_words,
        min_df=min_documents,
        max_df=float(max_share),  # scikit-learn reads the integer 1 as one document
    )
    try:
        counts = vectorizer.fit_transform(texts)
    except ValueError as error:  # the vocabulary is empty, before or after the bounds
        raise ValueError(
            f"No word is left with data.min_documents={min_documents} and "
            f"data.max_share={max_share}: lower data.min_documents, raise data.max_share, or give "
            f"training documents that have words (data.token_pattern says what a word is)."
        ) from error
    words = tuple(vectorizer.get_feature_names_out().tolist())
    return Vocabulary(words, _transformer().fit(counts).idf_, token_pattern, analyser, ngrams)


def _stop_words(given: str | Sequence[str], token_pattern: str) -> Any:
    """Stop words as scikit-learn takes them, cut into words as texts are: "don't" is "don"."""
    if isinstance(given, str):
        return given
    split = _vectorizer(token_pattern, "words", (1, 1)).build_analyzer()
    return sorted({word for text in given for word in split(text)}) or None


def _vectorizer(
    token_pattern: str, analyser: str, ngrams: tuple[int, int], **options: Any
) -> CountVectorizer:
    from sklearn.feature_extraction.text import CountVectorizer

    if analyser == "words":
        options["token_pattern"] = token_pattern
    return CountVectorizer(
        analyzer=ANALYSERS[analyser], ngram_range=ngrams, dtype=np.int32, **options
    )


def _transformer() -> TfidfTransformer:
    from sklearn.feature_extraction.text import TfidfTransformer

    return TfidfTransformer(sublinear_tf=True)
