"""Correlated tags: a document without a tag may still be likely to have it, judged by its others.

From how often tags are given together. Items with one tag each have no such pairs, so that nothing
changes for them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # loads scipy.sparse when it is first used


def shares(tags: np.ndarray | scipy.sparse.csr_array, *, smoothing: float) -> np.ndarray:
    """How likely a tag is beside another one, from documents with both.

    Args:
      tags: multi-hot {0, 1} `[n, tags]`, an array or sparse.
      smoothing: kappa, above 0: as many documents with a tag and with no other one are added.

    Returns:
      P, float32 `[tags, tags]` in [0, 1): `P[s, i] = n_si / (n_s + kappa)`, and 0 where s is i.
    """
    sparse = scipy.sparse.csr_array(tags, dtype=np.float64)
    both = (sparse.T @ sparse).toarray()
    counts = both.diagonal().copy()
    np.fill_diagonal(both, 0)
    return (both / (counts[:, None] + smoothing)).astype(np.float32)


def soft_targets(tags: jax.Array, shares: jax.Array, *, weight: float) -> jax.Array:
    """Tags with what is likely of those that are missing.

    `T + (1 - T) weight [1 - prod_s (1 - P(i | s))]` over the tags s that are given: the probability
    that at least one of them brings the missing tag along.

    Args:
      tags: T, {0, 1} `[n, tags]`.
      shares: P, as `shares` returns them.
      weight: eta, in [0, 1]; 0 for the tags themselves.

    Returns:
      `[n, tags]` in [0, 1].
    """
    likely = -jnp.expm1(jnp.matmul(tags, jnp.log1p(-shares), precision="highest"))
    return jnp.where(tags > 0, tags, weight * likely)
