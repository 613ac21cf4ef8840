"""Documents that come as tf-idf weights: there are no texts, and no counts of words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy  # loads scipy.sparse when it is first used

from dsh_jax.data.documents.rows import word_rows

MOST_WORDS = 2**24


@dataclass(frozen=True)
class WeightInputs:
    """How a row of weights becomes what networks take: divided by its length.

    Attributes:
      num_words: length of a row.
    """

    kind: ClassVar[str] = "tf-idf rows"

    num_words: int

    def __post_init__(self) -> None:
        if type(self.num_words) is not int or not 1 <= self.num_words <= MOST_WORDS:
            raise ValueError(f"num_words {self.num_words!r} should be from 1 to {MOST_WORDS}")

    @property
    def shape(self) -> tuple[int]:
        """`(num_words,)`."""
        return (self.num_words,)

    def matrix(self, items: Any) -> scipy.sparse.csr_array:
        """Rows as one matrix, float32 CSR `[n, num_words]`, checked and not yet divided.

        Args:
          items: a SciPy sparse matrix or an array, `[n, num_words]` or `[num_words]`; or a sequence
            of rows, each of one of these kinds.

        Raises:
          ValueError: they have another width, or weights that are negative or not finite.
        """
        try:
            if not scipy.sparse.issparse(items) and not hasattr(items, "__array__"):
                items = scipy.sparse.vstack([_sparse(row) for row in items])
            found = _sparse(items)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"items must be rows of {self.num_words:,} tf-idf weights, in a SciPy sparse "
                f"matrix or an array, not {type(items).__name__}"
            ) from error
        if found.shape[1] != self.num_words:
            raise ValueError(
                f"items must be rows of {self.num_words:,} tf-idf weights, as the model was "
                f"trained on, not of {found.shape[1]:,}"
            )
        if not np.isfinite(found.data).all() or (found.data < 0).any():
            raise ValueError("tf-idf weights must be finite, and 0 or more")
        return found

    def rows(self, items: Any) -> dict[str, np.ndarray]:
        """Rows as networks take them; see `rows.word_rows`. A word that is there counts once."""
        weights = unit_rows(self.matrix(items))
        return word_rows(weights, presence(weights))

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"num_words": self.num_words}


def _sparse(items: Any) -> scipy.sparse.csr_array:
    """Weights as float32 CSR `[n, words]`, without stored zeros.

    Raises:
      TypeError, ValueError: they are no numbers.
    """
    if not scipy.sparse.issparse(items):
        items = np.atleast_2d(np.asarray(items))
        if items.dtype.kind not in "biuf":
            raise TypeError(f"{items.dtype} is no type of weights")
    with np.errstate(over="ignore"):
        found = scipy.sparse.csr_array(items.reshape(-1, items.shape[-1]), dtype=np.float32)
    found.sum_duplicates()
    found.eliminate_zeros()
    return found


def unit_rows(weights: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """Rows divided by their lengths; a row of zeros stays as it is."""
    exact = weights.astype(np.float64)
    lengths = np.sqrt(np.asarray(exact.multiply(exact).sum(axis=1)).ravel())
    scale = np.repeat(np.where(lengths > 0, lengths, 1), np.diff(weights.indptr))
    data = (exact.data / scale).astype(np.float32)
    return scipy.sparse.csr_array((data, weights.indices, weights.indptr), shape=weights.shape)


def presence(weights: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """1 for each word that is there, int32 CSR `[n, words]`."""
    ones = np.ones(len(weights.data), np.int32)
    return scipy.sparse.csr_array((ones, weights.indices, weights.indptr), shape=weights.shape)
