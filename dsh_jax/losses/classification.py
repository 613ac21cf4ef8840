"""Losses of class logits: one label per item (softmax) or several (sigmoids)."""

import jax
import jax.numpy as jnp

from dsh_jax.losses import checks


def softmax_classification(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Cross-entropy of a softmax with one class, for single-label data.

    Args:
      logits: `[classes]`.
      label: one-hot, `[classes]`.

    Returns:
      A scalar, in nats.
    """
    checks.same_shape(logits, label)
    return -jnp.sum(label * jax.nn.log_softmax(logits))


def sigmoid_classification(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Sum over the classes of sigmoid cross-entropies, for multi-label data.

    Args:
      logits: `[classes]`.
      label: multi-hot, `[classes]`; all zeros says that the image has no label.

    Returns:
      A scalar, in nats.
    """
    checks.same_shape(logits, label)
    return jnp.sum(label * jax.nn.softplus(-logits) + (1 - label) * jax.nn.softplus(logits))


def softmax_no_class(logits: jax.Array) -> jax.Array:
    """Cross-entropy of an unlabeled image with the class target "zero vector".

    The paper gives unlabeled images the zero vector as target: predict no class. A softmax cannot
    say so, hence (our choice) "none" is one more class whose logit is fixed at 0, and this is its
    negative log-probability.

    Args:
      logits: `[classes]`.

    Returns:
      A scalar, in nats.
    """
    if jnp.ndim(logits) != 1:
        raise ValueError(f"logits {jnp.shape(logits)} must be [classes]; use jax.vmap over a batch")
    return jax.nn.logsumexp(jnp.append(logits, 0.0))


def sigmoid_no_class(logits: jax.Array) -> jax.Array:
    """`sigmoid_classification` against the zero vector: `[classes]` -> scalar, in nats."""
    return sigmoid_classification(logits, jnp.zeros_like(logits))
