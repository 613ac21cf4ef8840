"""The hardest triplets of a batch.

Batch-hard mining of Hermans, Beyer and Leibe: "In defense of the triplet loss for person
re-identification", 2017, arXiv 1703.07737; online mining was introduced with FaceNet (Schroff et
al., CVPR 2015).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dsh_jax.devices import AXIS
from dsh_jax.losses.slots import Loss


class Hardest(NamedTuple):
    """Rows of a batch, for each anchor.

    Attributes:
      positive: the farthest image that shares a label, int32 `[anchors]`.
      negative: the nearest image that shares none, int32 `[anchors]`.
      exist: whether there are both, bool `[anchors]`.
    """

    positive: jax.Array
    negative: jax.Array
    exist: jax.Array


def hardest(
    anchors: jax.Array,
    anchor_labels: jax.Array,
    codes: jax.Array,
    labels: jax.Array,
    is_self: jax.Array,
) -> Hardest:
    """The hardest positive and the hardest negative of each anchor.

    Args:
      anchors: relaxed codes, `[anchors, num_bits]`.
      anchor_labels: one-hot or multi-hot, `[anchors, classes]`.
      codes: of the images to choose from, `[n, num_bits]`.
      labels: theirs, `[n, classes]`.
      is_self: whether an image is the anchor itself, bool `[anchors, n]`; it is no positive.
    """
    distance = jnp.sum(jnp.square(anchors[:, None] - codes[None]), axis=-1)
    similar = anchor_labels @ labels.T > 0
    is_positive = similar & ~is_self
    return Hardest(
        jnp.argmax(jnp.where(is_positive, distance, -jnp.inf), axis=1),
        jnp.argmin(jnp.where(similar | is_self, jnp.inf, distance), axis=1),
        is_positive.any(axis=1) & ~(similar | is_self).all(axis=1),
    )


def of_hardest(loss: Loss, codes: jax.Array, labels: jax.Array, num_anchors: int) -> jax.Array:
    """Losses of the hardest triplets in the global batch.

    To be called under the axis `devices.AXIS`: each device takes its own anchors, and chooses among
    the images of all devices. The choice has no gradient; what is chosen has.

    Args:
      loss: (anchor, positive, negative) codes `[num_bits]` -> scalar.
      codes: relaxed codes of this device's images, `[n, num_bits]`; first the anchors.
      labels: one-hot or multi-hot, `[n, classes]`.
      num_anchors: of this device.

    Returns:
      `[num_anchors]`; 0 for an anchor without a positive or without a negative.
    """
    every, their_labels = jax.lax.all_gather((codes, labels), AXIS, tiled=True)
    row = jax.lax.axis_index(AXIS) * len(codes) + jnp.arange(num_anchors)
    anchors = codes[:num_anchors]
    chosen = hardest(
        jax.lax.stop_gradient(anchors), labels[:num_anchors], jax.lax.stop_gradient(every),
        their_labels, row[:, None] == jnp.arange(len(every)),
    )
    losses = jax.vmap(loss)(anchors, every[chosen.positive], every[chosen.negative])
    return jnp.where(chosen.exist, losses, 0.0)


def of_drawn(loss: Loss, codes: jax.Array, num_anchors: int) -> jax.Array:
    """Losses of the triplets as they were drawn.

    Args:
      loss: as for `of_hardest`.
      codes: of anchors, of one positive each, and of as many negatives each as there are,
        `[n, num_bits]`; anchors in the same order in each part.
      num_anchors: of this device.

    Returns:
      One for each negative, `[n - 2 * num_anchors]`.
    """
    anchor, positive, negative = jnp.split(codes, [num_anchors, 2 * num_anchors])
    turns = (len(negative) // num_anchors, 1)
    return jax.vmap(loss)(jnp.tile(anchor, turns), jnp.tile(positive, turns), negative)
