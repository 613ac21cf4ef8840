"""Which labels the negative of a synthetic triplet gets."""

import jax
import jax.numpy as jnp


def other_label(key: jax.Array, label: jax.Array) -> jax.Array:
    """A class vector that shares no label with the given one: one class, drawn uniformly.

    Args:
      key: random key.
      label: one-hot or multi-hot, `[classes]`.

    Returns:
      One-hot `[classes]`.
    """
    drawn = jax.random.categorical(key, jnp.where(label > 0, -jnp.inf, 0.0))
    return jax.nn.one_hot(drawn, len(label), dtype=label.dtype)


def disjoint_label(key: jax.Array, label: jax.Array, occurring: jax.Array) -> jax.Array:
    """A class vector that shares no label with the given one, for data with several labels.

    One that occurs, all such rows equally likely: images of one class alone, as `other_label` asks
    for, may be none that the discriminator has ever seen. Where each row shares a label, one class
    that is not in `label`, drawn uniformly; no class at all where `label` has them all.

    Args:
      key: random key.
      label: multi-hot, `[classes]`.
      occurring: class vectors to draw from, `[n, classes]`.

    Returns:
      Multi-hot, `[classes]`.
    """
    is_disjoint = occurring @ label == 0
    drawn = occurring[jax.random.categorical(key, jnp.where(is_disjoint, 0.0, -jnp.inf))]
    lacking = jnp.where(label > 0, 0, other_label(key, label))
    return jnp.where(is_disjoint.any(), drawn, lacking)
