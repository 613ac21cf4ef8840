"""Losses that draw codes to the center of their class: CSQ, DPN and OrthoHash.

Each class has a fixed code of -1 and 1, its center; the centers lie far apart.
"""

import jax
import jax.numpy as jnp

from dsh_jax.losses import codes


def csq(
    logits: jax.Array, label: jax.Array, centers: jax.Array, *, quantization: float = 0.0
) -> jax.Array:
    """Cross-entropy of the bits against the center's (Yuan et al.: CSQ, CVPR 2020, eq. 4 and 7).

    The relaxed bits are `sigmoid(logits)`; the paper's `(tanh u + 1) / 2` is the same with
    `logits = 2 u`.

    Args:
      logits: of the code, `[num_bits]`.
      label: one-hot or multi-hot, `[classes]`; several labels share the signs of their mean.
      centers: -1 or 1, `[classes, num_bits]`.
      quantization: weight of `mean (|2h - 1| - 1)^2` of the relaxed bits h.

    Returns:
      A scalar, the mean over the bits, in nats.
    """
    target = _target(logits, label, centers)
    gap = codes.quantization(jax.nn.sigmoid(logits)) / len(logits)
    return codes.code_cross_entropy(logits, target) + quantization * gap


def dpn(
    logits: jax.Array,
    label: jax.Array,
    centers: jax.Array,
    *,
    margin: float = 1.0,
    magnitude: float = 0.1,
) -> jax.Array:
    """Hinge of each bit against the center's (Fan et al.: DPN, IJCAI 2020), a mean over the bits.

    Args:
      logits, label, centers: as for `csq`.
      margin: below which a bit on the right side still counts.
      magnitude: weight of `mean logits^2`.
    """
    target = _target(logits, label, centers)
    hinge = jnp.mean(jnp.maximum(0.0, margin - target * logits))
    return hinge + magnitude * jnp.mean(logits**2)


def orthohash(
    logits: jax.Array,
    label: jax.Array,
    centers: jax.Array,
    *,
    scale: float = 8.0,
    margin: float = 0.2,
) -> jax.Array:
    """Cross-entropy over cosines to the centers, with a margin (Hoe et al., NeurIPS 2021).

    Args:
      logits, label, centers: as for `csq`; with several labels they share the target evenly.
      scale: factor of the cosines.
      margin: taken off the cosine to the right center.

    Returns:
      A scalar, in nats.
    """
    _check(logits, label, centers)
    norm = jnp.sqrt(jnp.sum(logits**2) + 1e-12) * jnp.sqrt(centers.shape[1])
    cosines = centers @ logits / norm
    target = label / jnp.maximum(1.0, jnp.sum(label))
    return -jnp.sum(target * jax.nn.log_softmax(scale * (cosines - margin * label)))


def _target(logits: jax.Array, label: jax.Array, centers: jax.Array) -> jax.Array:
    """Signs of the sum of the labels' centers; where it is 0, the first label's decides."""
    _check(logits, label, centers)
    total = label @ centers
    return jnp.sign(jnp.where(total == 0, centers[jnp.argmax(label)], total))


def _check(logits: jax.Array, label: jax.Array, centers: jax.Array) -> None:
    """Refuses what is not one sample."""
    shapes = jnp.shape(logits), jnp.shape(label), jnp.shape(centers)
    if len(shapes[0]) != 1 or len(shapes[1]) != 1 or shapes[2] != shapes[1] + shapes[0]:
        raise ValueError(
            "{}, {} and {} must be [num_bits], [classes] and [classes, num_bits], one sample; use "
            "jax.vmap over a batch".format(*shapes)
        )
