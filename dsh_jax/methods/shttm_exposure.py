"""Tagging uncertainty as exposure: a missing tag may be one that nobody thought of.

A document is exposed to tag i with probability mu_i: a_ij ~ Bern(mu_i). Where it is, its tag is
near the product of factor and code, t_ij ~ N(u_i . y_j, 1 / precision); where it is not, there is
no tag. So a tag that is given was exposed, and a missing one was with a probability p_ij that falls
the more the product expects the tag. Expectation maximisation takes a p_ij as the confidence c_ij
of SHTTM's objective, a being that in a present tag; it learns mu_i from p_ij, and never raises

    a / precision * [
      sum over given tags of     precision (t_ij - u_i . y_j)^2 - 2 log mu_i
      + sum over missing tags of -2 log(mu_i N(t_ij | u_i . y_j, 1 / precision) + 1 - mu_i)
      - 2 sum_i log Beta(mu_i | alpha, beta) ] + C |U|^2 + gamma |Y - theta|^2,

a multiple of minus the log posterior, up to a constant. Confidences differ in each row and column,
so that each row has a system of its own. Conjugate gradients solve all of them at once: a step is
two products of whole matrices. What rows have in common preconditions them, so that few steps do.

Source: Liang, Charlin, McInerney & Blei, "Modeling user exposure in recommendation" (WWW 2016).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import xlog1py, xlogy

_BATCH_ELEMENTS = 2**22  # of an array in a batch of rows, to limit memory

_matmul = partial(jnp.matmul, precision="highest")  # no TF32: gains of late steps are small


@dataclass(frozen=True)
class Exposure:
    """What is assumed of exposure.

    Attributes:
      precision: of tags that a document is exposed to, above 0. The lower it is, the less missing
        tags count.
      alpha, beta: of a Beta distribution of mu, as of `alpha - 1` documents more that are exposed
        and `beta - 1` that are not, each >= 1; 1 and 1 for a uniform one.
    """

    precision: float
    alpha: float
    beta: float

    def mode(self, exposed: np.ndarray, n: int) -> np.ndarray:
        """The most likely mu, given the expected number of exposed documents out of n."""
        return (self.alpha + exposed - 1) / (self.alpha + self.beta + n - 2)


def solve_side(
    fixed: np.ndarray,
    prior: np.ndarray,
    before: np.ndarray,
    given: np.ndarray,
    targets: np.ndarray,
    log_odds: tuple[np.ndarray, np.ndarray],
    precision: float,
    present: float,
    ridge: float,
) -> np.ndarray:
    """Solves for all rows of one side, with the other side fixed.

    A row x minimises sum_s c_s (t_s - f_s . x)^2 + ridge |x - prior|^2 over the rows f_s of F, with
    c_s = present p_s, and p_s as of the row before.

    Args:
      fixed: F `[m, k]`.
      prior, before: `[rows, k]`.
      given: whether a tag is given, bool `[rows, m]`.
      targets: t `[rows, m]`.
      log_odds: of exposure; of the rows `[rows]` and of the columns `[m]`, to be added.
      precision: of exposed tags.
      present, ridge: the weights.
    """
    parts = []
    for rows in _blocks(given.shape):
        confidence, common = _confidences(
            fixed, before[rows], given[rows], targets[rows], log_odds[0][rows], log_odds[1],
            precision, present,
        )  # fmt: skip
        # With what rows have in common, which float32 would invert too coarsely.
        sizes, directions = np.linalg.eigh(np.asarray(common, float))
        inverse = (directions / (np.maximum(sizes, 0) + ridge)) @ directions.T
        parts.append(
            _solve_rows(fixed, prior[rows], before[rows], targets[rows], confidence,
                        inverse.astype(fixed.dtype), ridge)
        )  # fmt: skip
    return np.concatenate(parts)


@jax.jit
def _confidences(
    fixed: jax.Array, before: jax.Array, given: jax.Array, targets: jax.Array,
    row_odds: jax.Array, column_odds: jax.Array, precision: float, present: float,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """c `[rows, m]`, and F^T C F `[k, k]` with its mean over the rows."""
    log_odds = row_odds[:, None] + column_odds
    p = exposure(given, targets, _matmul(before, fixed.T), log_odds, precision)
    confidence = (present * p).astype(fixed.dtype)
    return confidence, _matmul(fixed.T * confidence.mean(axis=0), fixed)


@jax.jit
def _solve_rows(
    fixed: jax.Array, prior: jax.Array, before: jax.Array, targets: jax.Array,
    confidence: jax.Array, inverse: jax.Array, ridge: float,
) -> jax.Array:  # fmt: skip
    """Conjugate gradients from the rows before, preconditioned by `inverse` `[k, k]`."""
    bits, dtype = fixed.shape[1], fixed.dtype
    tiny = jnp.finfo(dtype).tiny

    def dot(a, b):
        return jnp.sum(a * b, axis=1, keepdims=True)

    def misfit(x):
        products = _matmul(x, fixed.T)
        return dot(confidence, jnp.square(targets - products)) + ridge * dot(x - prior, x - prior)

    def step(state):
        x, residual, direction, size, count = state
        products = _matmul(direction, fixed.T)
        image = _matmul(confidence * products, fixed) + ridge * direction
        # As a sum of squares, which rounding does not make negative.
        bend = dot(confidence, jnp.square(products)) + ridge * dot(direction, direction)
        length = size / jnp.maximum(bend, tiny)
        x, residual = x + length * direction, residual - length * image
        solved = _matmul(residual, inverse)
        new = dot(residual, solved)
        return x, residual, solved + new / jnp.maximum(size, tiny) * direction, new, count + 1

    def is_unsolved(state):
        return (state[3] > small).any() & (state[4] < 2 * bits + 8)

    right = _matmul(confidence * targets, fixed) + ridge * prior
    small = (10 * jnp.finfo(dtype).eps) ** 2 * dot(right, _matmul(right, inverse))
    residual = right - _matmul(confidence * _matmul(before, fixed.T), fixed) - ridge * before
    direction = _matmul(residual, inverse)
    start = before, residual, direction, dot(residual, direction), 0
    x = lax.while_loop(is_unsolved, step, start)[0]
    return jnp.where(misfit(x) <= misfit(before), x, before)  # never up, whatever rounding does


def exposure(
    given: jax.Array, targets: jax.Array, products: jax.Array, log_odds: jax.Array, precision: float
) -> jax.Array:
    """The probability p of exposure, given the tags; all arrays are broadcast against each other.

    Args:
      given: whether a tag is given; it then was exposed.
      targets: t, of a missing tag 0 or how likely it is.
      products: u . y.
      log_odds: of mu.
      precision: of t.
    """
    log_normal = 0.5 * jnp.log(precision / (2 * jnp.pi))
    log_normal -= 0.5 * precision * jnp.square(targets - products)
    return jnp.where(given, 1, jax.nn.sigmoid(log_odds + log_normal))


def expected_exposures(
    codes: np.ndarray, factors: np.ndarray, targets: np.ndarray, given: np.ndarray,
    log_odds: np.ndarray, precision: float,
) -> np.ndarray:  # fmt: skip
    """The sum of p over documents, float64 `[tags]`; arguments as for `objective`."""
    total = np.zeros(len(factors))
    for rows in _blocks(given.shape):
        products = codes[rows] @ factors.T
        p = _exposure(given[rows], targets[rows], products, log_odds, precision)
        total += np.asarray(p, float).sum(axis=0)
    return total


_exposure = jax.jit(exposure)


def objective(
    codes: np.ndarray, factors: np.ndarray, topics: np.ndarray, targets: np.ndarray,
    given: np.ndarray, mu: np.ndarray, settings: Exposure, *, present: float, tag_ridge: float,
    topic_weight: float,
) -> float:  # fmt: skip
    """The objective above in float64.

    Args:
      codes, topics: `[n, k]`.
      factors: `[tags, k]`.
      targets, given: `[n, tags]`.
      mu: `[tags]`.
      settings: what is assumed of exposure.
      present, tag_ridge, topic_weight: the weights.
    """
    ridges = tag_ridge * np.sum(np.square(factors, dtype=float))
    ridges += topic_weight * np.sum(np.square(codes - topics, dtype=float))
    total = 0.0
    with jax.enable_x64(True):
        for rows in _blocks(given.shape):
            products = codes[rows].astype(float) @ factors.T.astype(float)
            parts = given[rows], targets[rows].astype(float), products, mu, settings.precision
            total += float(_misfit(*parts))
        log_beta = xlogy(settings.alpha - 1, mu) + xlog1py(settings.beta - 1, -mu)
        total -= 2 * float(jnp.sum(log_beta))
    return float(present / settings.precision * total + ridges)


@jax.jit
def _misfit(given, targets, products, mu, precision):
    square = precision * jnp.square(targets - products)
    log_normal = 0.5 * (jnp.log(precision / (2 * jnp.pi)) - square)
    missing = jnp.logaddexp(jnp.log(mu) + log_normal, jnp.log1p(-mu))
    # A tag that no document has, with mu 0, is in no sum of given tags.
    return jnp.sum(jnp.where(given, square - 2 * jnp.log(mu), -2 * missing))


def _blocks(shape: tuple[int, int]) -> Iterator[slice]:
    """Rows of an array in blocks."""
    size = max(1, _BATCH_ELEMENTS // max(1, shape[1]))
    return (slice(start, start + size) for start in range(0, shape[0], size))
