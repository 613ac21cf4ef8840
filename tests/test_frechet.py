"""The Fréchet distance by hand, against a slow formula, and its properties."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from dsh_jax.frechet import Moments, frechet_distance, moments

RNG = np.random.default_rng(0)


def test_two_gaussians_by_hand():
    # Of commuting covariances it is the sum of squares of mean and deviation differences:
    # (3 - 0)^2 + (1 - 2)^2 + (2 - 5)^2 = 9 + 1 + 9.
    a = Moments(np.array([3.0, 1.0]), np.diag([1.0, 4.0]))
    b = Moments(np.array([0.0, 1.0]), np.diag([4.0, 25.0]))
    assert frechet_distance(a, b) == pytest.approx(19)


def test_of_numbers_by_hand():
    a, b = moments(np.array([[0.0], [2.0]])), moments(np.array([[1.0], [5.0]]))
    assert (a.mean, b.mean) == (1, 3) and (a.covariance, b.covariance) == (2, 8)
    assert frechet_distance(a, b) == pytest.approx(4 + (np.sqrt(8) - np.sqrt(2)) ** 2)


@pytest.mark.parametrize("n", [5, 200])  # of 8 features: singular and regular covariances
def test_it_is_the_slow_formula(n):
    a = moments(RNG.normal(size=(n, 8)) @ RNG.normal(size=(8, 8)))
    b = moments(1 + RNG.normal(size=(300, 8)) @ RNG.normal(size=(8, 8)))
    root = np.real(sqrtm(a.covariance @ b.covariance))
    slow = ((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance + b.covariance - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(slow, rel=1e-5)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-6)


def test_equal_sets_are_at_distance_zero():
    features = RNG.normal(size=(50, 6)).astype(np.float32)
    assert frechet_distance(moments(features), moments(features[::-1])) < 1e-9
    constant = moments(np.ones((3, 4)))
    assert frechet_distance(constant, constant) == 0


def test_moments_are_numpys():
    features = RNG.normal(size=(9, 4)).astype(np.float32)
    found = moments(features)
    assert found.mean.dtype == found.covariance.dtype == np.float64
    np.testing.assert_allclose(found.covariance, np.cov(features.astype(float).T), rtol=1e-12)


@pytest.mark.parametrize("features", [np.ones((1, 3)), np.ones(3), np.full((4, 2), np.nan)])
def test_too_few_or_damaged_features_are_refused(features):
    with pytest.raises(ValueError, match="finite feature vectors"):
        moments(features)
