"""Losses of codes against target codes, and against not being binary."""

import jax
import jax.numpy as jnp

from dsh_jax.losses import checks


def code_cross_entropy(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Logistic cross-entropy of code outputs against a target code, for CNNH.

    The target's bits are `(target + 1) / 2`. The paper does not state its loss clearly; this is
    ours.

    Args:
      logits: `[num_bits]`; their sigmoid is the relaxed code.
      target: -1 or 1, `[num_bits]`.

    Returns:
      A scalar, the mean over the bits, in nats.
    """
    checks.same_shape(logits, target)
    return jnp.mean(jax.nn.softplus(-target * logits))


def quantization(code: jax.Array) -> jax.Array:
    """How far a relaxed code is from binary: `sum (|2h - 1| - 1)^2` (after DSH, CVPR 2016).

    Args:
      code: relaxed code in [0, 1], `[num_bits]`.

    Returns:
      A scalar: 0 for a binary code, `num_bits` where every output is 1/2.
    """
    if jnp.ndim(code) != 1:
        raise ValueError(f"code {jnp.shape(code)} must be [num_bits]; use jax.vmap over a batch")
    return jnp.sum((jnp.abs(2 * code - 1) - 1) ** 2)
