"""The terms of an evidence lower bound of documents, as pure functions of one document."""

import jax
import jax.numpy as jnp


def reconstruction(log_probabilities: jax.Array, word: jax.Array, count: jax.Array) -> jax.Array:
    """Negative log-likelihood of a document's words, all of them together.

    Args:
      log_probabilities: of the vocabulary, `[words]`.
      word: columns of the vocabulary, int `[width]`.
      count: how often each is there, or another weight, `[width]`; 0 where a row is only filled up.

    Returns:
      A scalar, in nats; 0 for a document without words.
    """
    return -jnp.sum(count * log_probabilities[word])


def gaussian_kl(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence of a diagonal Gaussian from the standard one.

    Args:
      mean, log_variance: `[num_bits]`.

    Returns:
      A scalar, in nats.
    """
    return 0.5 * jnp.sum(jnp.square(mean) + jnp.exp(log_variance) - log_variance - 1)


def bernoulli_kl(logits: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence of independent bits from fair coins.

    Args:
      logits: of the bits, `[num_bits]`.

    Returns:
      A scalar, in nats: at most log 2 a bit.
    """
    on, off = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    return jnp.sum(jnp.exp(on) * on + jnp.exp(off) * off + jnp.log(2.0))
