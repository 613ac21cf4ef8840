"""Small positive definite systems, many at once."""

import jax
import jax.numpy as jnp
from jax import lax


def solve(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """Solves a positive definite system by Gauss-Jordan elimination, which needs no pivoting.

    Not by LAPACK: on the CPU (jaxlib 0.10) two batches of its calls that run at once can deadlock,
    each holding a thread of the pool that both need.

    Args:
      matrix: `[size, size]`.
      right: `[size, columns]`.
    """
    places = jnp.arange(len(matrix))[:, None]

    def clear(i, system):
        row = system[i] / system[i, i]
        return jnp.where(places == i, row, system - system[:, i, None] * row)

    system = jnp.concatenate([matrix, right], axis=1)
    return lax.fori_loop(0, len(matrix), clear, system)[:, len(matrix) :]
