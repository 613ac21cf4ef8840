"""The divergence of a Gaussian code, as a pure function of one document."""

import jax
import jax.numpy as jnp


def gaussian_kl(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence of a diagonal Gaussian from the standard one.

    Args:
      mean, log_variance: `[num_bits]`.

    Returns:
      A scalar, in nats.
    """
    return 0.5 * jnp.sum(jnp.square(mean) + jnp.exp(log_variance) - log_variance - 1)
