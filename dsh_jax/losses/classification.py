"""Losses of class logits: one label per item (softmax) or several (sigmoids)."""

import jax
import jax.numpy as jnp

from dsh_jax.losses import checks


def softmax_classification(
    logits: jax.Array, label: jax.Array, *, smoothing: float = 0.0
) -> jax.Array:
    """Cross-entropy of a softmax with one class, for single-label data.

    Args:
      logits: `[classes]`.
      label: one-hot, `[classes]`.
      smoothing: share of the target that is spread evenly over all classes (Szegedy et al.,
        "Rethinking the Inception architecture", CVPR 2016).

    Returns:
      A scalar, in nats.
    """
    checks.same_shape(logits, label)
    return -jnp.sum(_smoothed(label, smoothing) * jax.nn.log_softmax(logits))


def softmax_or_none(logits: jax.Array, label: jax.Array, *, smoothing: float = 0.0) -> jax.Array:
    """Cross-entropy of a softmax over the classes and "none", the class of unlabeled images.

    The DSH-GANs paper gives unlabeled images the zero vector as target: predict no class. A
    softmax cannot say so, hence (our choice) "none" is one more class, whose logit is fixed at 0.
    All images have to see it: where only unlabeled images do, a common shift of all logits
    satisfies it and it teaches nothing.

    Args:
      logits: `[classes]`.
      label: one-hot, or all zeros for "none", `[classes]`.
      smoothing: as for `softmax_classification`; a zero label stays as it is.

    Returns:
      A scalar, in nats.
    """
    checks.same_shape(logits, label)
    return jax.nn.logsumexp(jnp.append(logits, 0.0)) - jnp.sum(_smoothed(label, smoothing) * logits)


def _smoothed(label: jax.Array, smoothing: float) -> jax.Array:
    return (1 - smoothing) * label + smoothing * jnp.sum(label) / len(label)


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
