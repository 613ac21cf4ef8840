"""SHTTM's hash function: a ridge regression from tf-idf to learned codes, and its thresholds.

Source: Wang, Zhang & Si, "Semantic hashing using tags and topic modeling" (SIGIR 2013).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # loads scipy.sparse when it is first used


def medians(codes: np.ndarray) -> np.ndarray:
    """The thresholds that set each bit in half of the codes: `[n, k]` -> `[k]`."""
    return np.median(codes, axis=0)


def fit_hash_function(features: Any, codes: np.ndarray, *, ridge: float) -> np.ndarray:
    """The linear map from words to codes: W that minimises |X W - Y|^2 + ridge |W|^2.

    The paper's W = Y X^T (X X^T + lambda I)^-1, without an intercept, by conjugate gradients,
    which need only products with X.

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
    from sklearn.linear_model import ridge_regression  # slow to import

    if not ridge > 0:
        raise ValueError(f"codes.hash_ridge is {ridge}: choose a number above 0.")
    if features.ndim != 2 or np.ndim(codes) != 2 or features.shape[0] != len(codes):
        raise ValueError(f"features and codes must be [n, words] and [n, k], got "
                         f"{features.shape} and {np.shape(codes)}")  # fmt: skip
    features, codes = scipy.sparse.csr_matrix(features, dtype=float), np.asarray(codes, float)
    weights = ridge_regression(features, codes, ridge, solver="sparse_cg", tol=1e-10)
    return np.atleast_2d(weights).T
