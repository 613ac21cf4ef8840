"""The Fréchet distance between two sets of feature vectors, as if each were Gaussian.

Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter: "GANs trained by a two time-scale update rule
converge to a local Nash equilibrium", NeurIPS 2017. There the features are an Inception network's.
"""

from typing import NamedTuple

import numpy as np


class Moments(NamedTuple):
    """Mean and covariance of feature vectors.

    Attributes:
      mean: float64 `[features]`.
      covariance: float64 `[features, features]`.
    """

    mean: np.ndarray
    covariance: np.ndarray


def moments(features: np.ndarray) -> Moments:
    """Mean and unbiased covariance of feature vectors `[n, features]`.

    Raises:
      ValueError: fewer than two vectors, or a value that is not finite.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2 or not np.isfinite(features).all():
        raise ValueError(f"{features.shape} is no array of two or more finite feature vectors")
    mean = features.mean(axis=0)
    centered = features - mean
    return Moments(mean, centered.T @ centered / (len(features) - 1))


def frechet_distance(a: Moments, b: Moments) -> float:
    """Squared Fréchet (2-Wasserstein) distance of two Gaussians.

    `|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))`. The trace of the root is that of
    `(R C_b R)^(1/2)` with `R = C_a^(1/2)`, whose eigenvalues are not negative; so no root of an
    asymmetric matrix is taken, and singular covariances do no harm.

    Args:
      a, b: of the same number of features.

    Returns:
      0 or more, in squared units of the features.
    """
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    product = root @ b.covariance @ root
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh((product + product.T) / 2), 0)).sum()
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    squared = np.sum(np.square(a.mean - b.mean)) + traces - 2 * shared
    return float(max(squared, 0.0))
