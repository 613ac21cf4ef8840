"""Losses of pairs of items and of whole batches, over all devices."""

import jax
import jax.numpy as jnp

from dsh_jax.devices import AXIS
from dsh_jax.losses.slots import Loss


def mean_over_pairs(loss: Loss, code_logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The mean of a pair's loss over all ordered pairs of different rows of the global batch.

    To be called under the axis `devices.AXIS`: each device takes the pairs of its own items with
    all items, so the mean over the devices is that of the whole batch, however many share it.

    Args:
      loss: code logits `[num_bits]` of two items, similar (1.0 where they share a label, else 0.0)
        -> scalar.
      code_logits: of this device's items, `[n, num_bits]`.
      labels: one-hot or multi-hot, `[n, classes]`.

    Returns:
      A scalar.
    """
    others, their_labels = jax.lax.all_gather((code_logits, labels), AXIS, tiled=True)
    similar = (labels @ their_labels.T > 0).astype(code_logits.dtype)
    row = jax.lax.axis_index(AXIS) * len(labels) + jnp.arange(len(labels))
    is_pair = row[:, None] != jnp.arange(len(others))

    def of_pair(a: jax.Array, b: jax.Array, similar: jax.Array, is_pair: jax.Array) -> jax.Array:
        # An item is never compared with itself: the gradient of a distance is NaN there, and would
        # be NaN even if the value were dropped.
        return jnp.where(is_pair, loss(a, jnp.where(is_pair, b, a + 1.0), similar), 0.0)

    of_row = jax.vmap(of_pair, (None, 0, 0, 0))
    losses = jax.vmap(of_row, (0, None, 0, 0))(code_logits, others, similar, is_pair)
    return losses.sum() / jnp.maximum(is_pair.sum(), 1)


def of_batch(loss: Loss, code_logits: jax.Array, labels: jax.Array) -> jax.Array:
    """A batch's loss, of the global batch on every device.

    Args:
      loss: code logits `[batch, num_bits]`, labels `[batch, classes]` -> scalar.
      code_logits, labels: as for `mean_over_pairs`.
    """
    return loss(*jax.lax.all_gather((code_logits, labels), AXIS, tiled=True))
