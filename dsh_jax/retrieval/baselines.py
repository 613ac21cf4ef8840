"""Baselines: ITQ, PCA and LSH on any feature matrix, thresholded topics, a classifier's label.

Learned codes should beat them. Each `fit_*` needs no labels and returns an encoder, features
`[n, dim]` -> bits `[n, num_bits]`, that holds only a mean and a projection. Features are dense
(pixels) or SciPy sparse (tf-idf); sparse features are never made dense.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import scipy  # loads scipy.sparse when it is first used

Features: TypeAlias = "np.ndarray | scipy.sparse.csr_array"
Encoder: TypeAlias = "Callable[[Features], np.ndarray]"


def fit_itq(features: Features, *, num_bits: int, seed: int, iterations: int = 50) -> Encoder:
    """PCA-ITQ: signs of principal components, rotated to minimise the quantisation error.

    Source: Gong & Lazebnik, "Iterative quantization" (CVPR 2011).

    Args:
      features: `[n, dim]` of real numbers to fit on.
      num_bits: length of a code, 1 to min(n, dim), or one less for sparse features.
      seed: of the initial rotation and of PCA's solver.
      iterations: of the rotation.

    Returns:
      An encoder: features `[m, dim]` -> bits uint8 {0, 1} `[m, num_bits]`; ValueError for
      features of the wrong width.

    Raises:
      ValueError: num_bits is below 1, or too large for the dimension or the number of rows;
        features are not a matrix of finite numbers; or iterations < 0.
    """
    return _linear_encoder(
        *itq_projection(features, num_bits=num_bits, seed=seed, iterations=iterations)
    )


def itq_projection(
    features: Features, *, num_bits: int, seed: int, iterations: int = 50
) -> tuple[np.ndarray, np.ndarray]:
    """What `fit_itq` fits.

    Returns:
      (mean, projection), float `[dim]` and `[dim, num_bits]`: a bit is 1 where
      `(features - mean) @ projection` is positive.
    """
    features = _as_features(features)
    mean, components = principal_components(features, num_bits, seed, "ITQ")
    projected = _project(features, mean, components)
    rotation, _ = itq_rotation(projected, seed=seed, iterations=iterations)
    return mean, components @ rotation


def fit_pca(features: Features, *, num_bits: int, seed: int) -> Encoder:
    """Signs of principal components, as they are.

    Args:
      features, num_bits, seed: as for `fit_itq`.

    Returns:
      An encoder, as `fit_itq` does.

    Raises:
      ValueError: as `fit_itq`.
    """
    features = _as_features(features)
    return _linear_encoder(*principal_components(features, num_bits, seed, "PCA"))


def principal_components(
    features: Features, num_bits: int, seed: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """The mean `[dim]` and the first principal components, float64 `[dim, num_bits]`.

    Args:
      features: `[n, dim]`, dense or sparse.
      num_bits: number of components.
      seed: of PCA's solver.
      name: of who makes codes of them, for errors.

    Raises:
      ValueError: num_bits is below 1, or too large for the dimension or the number of rows.
    """
    # Sparse PCA cannot find the last component.
    most = min(features.shape) - scipy.sparse.issparse(features)
    if not 1 <= num_bits <= most:
        raise ValueError(
            f"{name} cannot make codes of {num_bits} bits from {features.shape[0]} rows of "
            f"{features.shape[1]} features: choose between 1 and {most} bits."
        )
    from sklearn.decomposition import PCA  # slow to import

    pca = PCA(num_bits, random_state=seed).fit(features)
    return pca.mean_, pca.components_.T.astype(np.float64)


def itq_rotation(
    projected: np.ndarray, *, seed: int, iterations: int
) -> tuple[np.ndarray, np.ndarray]:
    """The rotation R that minimises the distance of `projected @ R` to its signs.

    Alternates B = sign(V R) with the orthogonal Procrustes solution of min |B - V R|; the error
    never increases.

    Args:
      projected: V, centred float `[n, num_bits]`.
      seed: of the random initial rotation.
      iterations: >= 0.

    Returns:
      (rotation, errors): an orthogonal `[num_bits, num_bits]`, and the mean squared quantisation
      error per row, |B - V R|^2 / n, of the initial rotation and after each iteration,
      `[iterations + 1]`.

    Raises:
      ValueError: `projected` is not a matrix, or iterations < 0.
    """
    if projected.ndim != 2 or iterations < 0:
        raise ValueError(
            f"projected must be [n, num_bits] and iterations at least 0, "
            f"got {projected.shape} and {iterations}"
        )
    num_bits = projected.shape[1]
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((num_bits, num_bits)))
    errors = np.empty(iterations + 1)
    for step in range(iterations + 1):
        rotated = projected @ rotation
        signs = np.where(rotated > 0, 1.0, -1.0)
        errors[step] = np.sum(np.square(signs - rotated)) / len(projected)
        if step < iterations:
            left, _, right = np.linalg.svd(projected.T @ signs)
            rotation = left @ right
    return rotation, errors


def fit_lsh(features: Features, *, num_bits: int, seed: int) -> Encoder:
    """LSH: a bit per random Gaussian hyperplane through the mean of the features, 1 on one side.

    Source: Charikar, "Similarity estimation techniques from rounding algorithms" (STOC 2002).

    Args:
      features: `[n, dim]` of real numbers; only their mean is used.
      num_bits: length of a code, >= 1; may exceed dim.
      seed: of the hyperplanes.

    Returns:
      An encoder, as `fit_itq` does.

    Raises:
      ValueError: num_bits < 1, or features are not a matrix of finite numbers.
    """
    features = _as_features(features)
    if num_bits < 1:
        raise ValueError(f"LSH cannot make codes of {num_bits} bits: choose at least 1 bit.")
    hyperplanes = np.random.default_rng(seed).standard_normal((features.shape[1], num_bits))
    return _linear_encoder(features.mean(axis=0, dtype=np.float64), hyperplanes)


def median_codes(topics: np.ndarray) -> Encoder:
    """An encoder that sets the bits of topics above their medians over the training documents.

    Args:
      topics: of the training documents, `[n, num_bits]`. The encoder takes `[m, num_bits]`.

    Raises:
      ValueError: topics are not a matrix of finite numbers.
    """
    medians = np.median(_as_features(topics), axis=0)
    return _linear_encoder(medians, np.eye(len(medians)))


def label_codes(predicted: np.ndarray, *, num_bits: int) -> np.ndarray:
    """The labels that a classifier predicts, written as codes.

    Codes learned from the same labels should do better than these, which cannot tell apart images
    of the same class (Sablayrolles et al., "How should we evaluate supervised
    hashing?", ICASSP 2017).

    Args:
      predicted: multi-hot {0, 1} `[n, classes]`.
      num_bits: length of a code. With at least one bit per class, a code is the label vector,
        repeated as often as it fits; with fewer, it is the class number in binary, which needs
        exactly one label per item.

    Returns:
      bits uint8 {0, 1} `[n, num_bits]`.

    Raises:
      ValueError: too few bits for the classes, or for several labels per item.
    """
    n, classes = predicted.shape
    bits = np.zeros((n, num_bits), np.uint8)
    if classes <= num_bits:
        repeated = np.tile(predicted, num_bits // classes)
        bits[:, : repeated.shape[1]] = repeated
        return bits
    if classes > 2**num_bits or np.any(predicted.sum(axis=1) != 1):
        raise ValueError(
            f"labels of {classes} classes do not fit into codes of {num_bits} bits: "
            f"this baseline needs {classes} bits or more."
        )
    return bits | (predicted.argmax(axis=1)[:, None] >> np.arange(num_bits) & 1).astype(np.uint8)


def _as_features(features: Features) -> Features:
    """Floats `[n, dim]`: float64 stays, anything else (pixels) becomes float32 to save memory."""
    features = _as_array(features)
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"features must be a non-empty [n, dim], got {features.shape}")
    features = features.astype(np.float64 if features.dtype == np.float64 else np.float32)
    if not np.isfinite(features.data if scipy.sparse.issparse(features) else features).all():
        raise ValueError(f"features {features.shape} hold NaN or infinity")
    return features


def _as_array(features: Features) -> Features:
    is_sparse = scipy.sparse.issparse(features)
    return scipy.sparse.csr_array(features) if is_sparse else np.asarray(features)


def _project(features: Features, mean: np.ndarray, projection: np.ndarray) -> np.ndarray:
    """(features - mean) @ projection, without centring (and so densifying) sparse features."""
    if scipy.sparse.issparse(features):
        return features @ projection - mean @ projection
    return (features - mean) @ projection


def _linear_encoder(mean: np.ndarray, projection: np.ndarray) -> Encoder:
    """Bit = 1 on the positive side of (features - mean) @ projection."""
    num_bits = projection.shape[1]

    def encode(features: Features) -> np.ndarray:
        features = _as_array(features)
        if features.ndim != 2 or features.shape[1] != len(mean):
            raise ValueError(f"features must be [n, {len(mean)}], got {features.shape}")
        bits = np.empty((features.shape[0], num_bits), np.uint8)
        # In blocks: the centred float64 copy of a whole image set would be large.
        for start in range(0, len(bits), 4096):
            rows = slice(start, start + 4096)
            bits[rows] = _project(features[rows], mean, projection) > 0
        return bits

    return encode
