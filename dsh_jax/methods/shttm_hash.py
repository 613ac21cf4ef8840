"""SHTTM's hash function: a ridge regression from tf-idf to learned codes, and its thresholds.

Source: Wang, Zhang & Si, "Semantic hashing using tags and topic modeling" (SIGIR 2013).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy  # loads scipy.sparse when it is first used

_TOLERANCE = 1e-8  # the result is kept in float32
_MOST_STEPS = 1000


def medians(codes: np.ndarray) -> np.ndarray:
    """The thresholds that set each bit in half of the codes: `[n, k]` -> `[k]`."""
    return np.median(codes, axis=0)


def fit_hash_function(features: Any, codes: np.ndarray, *, ridge: float) -> np.ndarray:
    """The linear map from words to codes: W that minimises |X W - Y|^2 + ridge |W|^2.

    The paper's W = Y X^T (X X^T + lambda I)^-1, without an intercept, by conjugate gradients,
    which need only products with X; in the smaller of the two spaces, words or documents.

    Args:
      features: X, a SciPy sparse matrix `[n, words]`, for instance tf-idf.
      codes: Y, real `[n, k]`.
      ridge: lambda, above 0.

    Returns:
      W, float64 `[words, k]`; new documents have the codes `features @ W`.

    Raises:
      ValueError: ridge is not above 0, or features and codes are not two matrices with the same
        number of rows.
    """
    if not ridge > 0:
        raise ValueError(f"codes.hash_ridge is {ridge}: choose a number above 0.")
    if features.ndim != 2 or np.ndim(codes) != 2 or features.shape[0] != len(codes):
        raise ValueError(f"features and codes must be [n, words] and [n, k], got "
                         f"{features.shape} and {np.shape(codes)}")  # fmt: skip
    features, codes = scipy.sparse.csr_array(features, dtype=float), np.asarray(codes, float)
    transposed = features.T.tocsr()  # its product is faster than that of the CSC form
    if features.shape[1] > features.shape[0]:
        return transposed @ _solve(lambda x: features @ (transposed @ x) + ridge * x, codes)
    right = transposed @ codes
    return _solve(lambda x: transposed @ (features @ x) + ridge * x, right)


def _solve(multiply: Callable[[np.ndarray], np.ndarray], right: np.ndarray) -> np.ndarray:
    """Solves A X = B by block conjugate gradients: one product a step for all columns of B.

    A step minimises each column's error over the directions of all of them, so it takes fewer steps
    than each column alone. Residuals are kept as Q C with orthonormal Q, which columns that depend
    on each other, or are solved before the others, do not disturb.

    Source: Dubrulle, "Retooling the method of block conjugate gradients" (ETNA 2001), BCGrQ.

    Args:
      multiply: by a symmetric positive definite A, `[m, k]` -> `[m, k]`.
      right: B, float64 `[m, k]`.

    Returns:
      X `[m, k]`; the residual of each column is at most `_TOLERANCE` of the column of B.
    """
    scales = np.linalg.norm(right, axis=0)
    scales[scales == 0] = 1
    residual, factor = np.linalg.qr(right / scales)  # columns of equal weight
    direction, solution = residual, np.zeros_like(right)
    for _ in range(_MOST_STEPS):
        if (np.linalg.norm(factor, axis=0) <= _TOLERANCE).all():
            break
        product = multiply(direction)
        step = np.linalg.pinv(direction.T @ product, hermitian=True)
        solution += direction @ (step @ factor)
        residual, change = np.linalg.qr(residual - product @ step)
        direction, factor = residual + direction @ change.T, change @ factor
    return solution * scales
