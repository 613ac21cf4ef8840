"""One sweep of CNNH's coordinate descent: every entry of H moves once, by a clipped Newton step.

The entries of H, relaxed to [-1, 1], minimise ||H H^T - q S||_F^2. With L = H H^T - q S, entry
(i, j) needs only L_i. H_.j and L_ii, and both follow from G = H^T H and row i of S H: L is never
formed. All bits of a row share that row of S, and the rows of a block start from one product
S[block] H, corrected by the block's own changes; so a sweep costs one product S H and O(q) per
bit, and gives the same result as entry-by-entry updates.

Source: Xia, Pan, Lai, Liu & Yan (AAAI 2014); see `cnnh_codes`.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

_HALVINGS = 4

_matmul = partial(jnp.matmul, precision="highest")  # no TF32: gains of late steps are small


def objective_change(
    step: jax.Array, slope: jax.Array, curvature: jax.Array, entry: jax.Array, weight: jax.Array
) -> jax.Array:
    """By how much ||H H^T - q S||_F^2, over all images, changes when an entry moves by `step`.

    Exact: a quartic, because the row's product with itself is quadratic in the entry.

    Args:
      step: d, how far the entry moves.
      slope: g', the first derivative, divided by the row's weight.
      curvature: g'', the second derivative, divided by the row's weight.
      entry: H_ij before the move.
      weight: of row i.

    Returns:
      The change divided by the row's weight.
    """
    return step * (slope + step * (curvature / 2 + weight * step * (4 * entry + step)))


def newton_step(
    slope: jax.Array, curvature: jax.Array, entry: jax.Array, weight: jax.Array
) -> jax.Array:
    """How far an entry moves: never uphill, never out of [-1, 1].

    A clipped Newton step; if it overshoots, it is halved up to four times or not taken. Without
    positive curvature, the entry moves to the better bound, unless that is worse than staying.

    Args:
      slope, curvature, entry, weight: as `objective_change` takes them.
    """
    down, up = -1 - entry, 1 - entry

    def change(step: jax.Array) -> jax.Array:
        return objective_change(step, slope, curvature, entry, weight)

    newton = jnp.clip(-slope / jnp.where(curvature > 0, curvature, 1), down, up)
    for _ in range(_HALVINGS):
        newton = jnp.where(change(newton) <= 0, newton, newton / 2)
    bound = jnp.where(change(down) < change(up), down, up)
    step = jnp.where(curvature > 0, newton, bound)
    return jnp.where(change(step) <= 0, step, 0)


def move_row(
    gram: jax.Array, pull: jax.Array, row: jax.Array, weight: jax.Array, order: jax.Array
) -> jax.Array:
    """Moves the bits of row i in the given order.

    Args:
      gram: H^T W H of the other rows, `[num_bits, num_bits]`.
      pull: q S_i. W H of the other rows, `[num_bits]`.
      row: H_i., `[num_bits]`.
      weight: of the row.
      order: the bits, int32 `[num_bits]`.
    """
    num_bits = len(row)
    # Scanning over bits stored in order is twice as fast as indexing each.
    gram, pull, ordered = gram[order][:, order], pull[order], row[order]

    def move(carry, bit):
        product, diagonal = carry  # gram @ row, and L_ii = |row|^2 - q
        index, gram_row, gram_own, pulled, entry = bit
        slope = 4 * (product[index] - pulled + weight * diagonal * entry)
        curvature = 4 * (gram_own + weight * (2 * entry * entry + diagonal))
        step = newton_step(slope, curvature, entry, weight)
        carry = (product + step * gram_row, diagonal + step * (2 * entry + step))
        return carry, jnp.clip(entry + step, -1, 1)  # clips only rounding errors

    start = (_matmul(gram, ordered), _matmul(ordered, ordered) - num_bits)
    bits = (jnp.arange(num_bits), gram, jnp.diag(gram), pull, ordered)
    return row.at[order].set(lax.scan(move, start, bits)[1])


@partial(jax.jit, donate_argnums=0)
def sweep(
    relaxed: jax.Array, similarity: jax.Array, weights: jax.Array, rows: jax.Array, bits: jax.Array
) -> jax.Array:
    """One sweep.

    Args:
      relaxed: H, float32 `[n, num_bits]`; donated.
      similarity: S, int8 `[n, n]`.
      weights: float32 `[n]`.
      rows: int32 `[blocks, block]`, padded with n.
      bits: int32 `[blocks, block, num_bits]`.
    """
    num_bits = relaxed.shape[1]
    take = partial(jnp.take, mode="fill", fill_value=0)  # padding has weight 0: no effect

    def move_block(carry, block):
        relaxed, gram = carry
        rows, bits = block
        old, weight = take(relaxed, rows, axis=0), take(weights, rows)
        similar = take(similarity, rows, axis=0).astype(jnp.float32)
        products = _matmul(similar, weights[:, None] * relaxed)
        within = take(similar, rows, axis=1) * weight

        def move(carry, line):
            new, gram = carry
            position, product, similar, row, weight, order = line
            product = product + _matmul(similar, new - old)  # what the block has changed so far
            others = gram - weight * jnp.outer(row, row)
            moved = move_row(others, num_bits * (product - weight * row), row, weight, order)
            return (new.at[position].set(moved), others + weight * jnp.outer(moved, moved)), None

        lines = (jnp.arange(len(rows)), products, within, old, weight, bits)
        (new, gram), _ = lax.scan(move, (old, gram), lines)
        return (relaxed.at[rows].set(new, mode="drop"), gram), None

    gram = _matmul(relaxed.T * weights, relaxed)  # recomputed every sweep, against drift
    (relaxed, _), _ = lax.scan(move_block, (relaxed, gram), (rows, bits))
    return relaxed
