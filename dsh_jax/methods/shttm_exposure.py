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
so that no system is shared between rows; each row has its own, as large as bits or columns are few.

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

from dsh_jax.methods.small_systems import solve

_BATCH_ELEMENTS = 2**20  # of an array in a batch of rows: limits memory, and fits in a cache

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


@jax.jit
def solve_side(
    fixed: jax.Array,
    prior: jax.Array,
    before: jax.Array,
    given: jax.Array,
    targets: jax.Array,
    log_odds: tuple[jax.Array, jax.Array],
    precision: float,
    present: float,
    ridge: float,
) -> jax.Array:
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
    count, bits = fixed.shape
    gram = _matmul(fixed, fixed.T) if count < bits else None

    def row(values):
        prior, before, given, targets, odds = values
        exposed = exposure(given, targets, _matmul(fixed, before), odds + log_odds[1], precision)
        if gram is None:
            weighted = (present * exposed)[:, None] * fixed
            matrix = _matmul(weighted.T, fixed) + ridge * jnp.eye(bits, dtype=fixed.dtype)
            right = _matmul(targets, weighted) + ridge * prior
            return solve(matrix, right[:, None])[:, 0]
        # The same in as many unknowns as there are columns: x = prior + F^T a.
        scale = jnp.sqrt(present * exposed / ridge)
        matrix = scale[:, None] * gram * scale + jnp.eye(count, dtype=fixed.dtype)
        right = scale * (targets - _matmul(fixed, prior))
        return prior + _matmul(scale * solve(matrix, right[:, None])[:, 0], fixed)

    size = min(count, bits)
    batch = max(1, _BATCH_ELEMENTS // (size * size + count))
    return lax.map(row, (prior, before, given, targets, log_odds[0]), batch_size=batch)


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
    """Rows of a `[n, tags]` array in blocks that fit in a cache."""
    size = max(1, _BATCH_ELEMENTS // max(1, shape[1]))
    return (slice(start, start + size) for start in range(0, shape[0], size))
