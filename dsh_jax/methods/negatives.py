"""Labels for the negatives of synthetic triplets."""

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

    Drawn uniformly from the rows of `occurring` that share no label with it, because the
    discriminator may never have seen an image of a single class, as `other_label` gives. If there
    is no such row, one class that is not in `label`, drawn uniformly; if `label` has all classes,
    a vector of zeros.

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
