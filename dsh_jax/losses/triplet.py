"""The triplet ranking loss of DSH-GANs (SIGIR 2017, arXiv 1804.08275)."""

import jax
import jax.numpy as jnp

from dsh_jax.hamming import relaxed_distance


def triplet_ranking(
    anchor: jax.Array, positive: jax.Array, negative: jax.Array, *, margin: float = 1.0
) -> jax.Array:
    """Triplet ranking loss of relaxed codes: `max(0, m - |h - h-|^2 + |h - h+|^2)`.

    On binary codes the squared L2 distance is the Hamming distance, so the margin is in bits.

    Args:
      anchor: code of a real image, in [0, 1], `[num_bits]`.
      positive: code of an image with the same labels, `[num_bits]`.
      negative: code of an image that shares no label, `[num_bits]`.
      margin: by how many bits the negative must be farther away than the positive (paper: 1).

    Returns:
      A scalar, 0 where the margin is kept.
    """
    difference = relaxed_distance(anchor, positive) - relaxed_distance(anchor, negative)
    return jnp.maximum(0.0, margin + difference)
