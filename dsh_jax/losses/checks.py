"""Shape checks that several losses share."""

import jax
import jax.numpy as jnp


def same_shape(a: jax.Array, b: jax.Array) -> None:
    """Refuses two arrays that are not both `[n]`.

    A silent broadcast of `[batch, 1]` against `[batch]` is the classic bug of such losses.
    """
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(
            f"{a.shape} and {b.shape} must both be [n], one sample; use jax.vmap over a batch"
        )


def scalar(value: jax.Array) -> None:
    """Refuses what is not a scalar."""
    if jnp.ndim(value):
        raise ValueError(f"{jnp.shape(value)} must be a scalar; use jax.vmap over a batch")
