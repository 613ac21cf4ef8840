"""Views of vectors: they have no crops and no colours, only noise and gaps."""

import jax
import jax.numpy as jnp


def disturb(keys: jax.Array, vectors: jax.Array, *, noise: float, drop: float) -> jax.Array:
    """Adds Gaussian noise to vectors, and sets some of their numbers to 0.

    Args:
      keys: one key per vector, `[batch]`.
      vectors: float, `[batch, width]`.
      noise: standard deviation, as a share of the vector's root mean square.
      drop: probability that a number becomes 0; the others are divided by 1 - drop.

    Returns:
      Vectors of the same shape and dtype.
    """
    if not noise and not drop:
        return vectors

    def one(key: jax.Array, vector: jax.Array) -> jax.Array:
        noise_key, drop_key = jax.random.split(key)
        if noise:
            size = jnp.sqrt(jnp.mean(jnp.square(vector)) + 1e-12)
            vector = vector + noise * size * jax.random.normal(noise_key, vector.shape)
        if drop:
            kept = jax.random.bernoulli(drop_key, 1 - drop, vector.shape)
            vector = jnp.where(kept, vector / (1 - drop), 0)
        return vector

    return jax.vmap(one)(keys, vectors).astype(vectors.dtype)
