"""Networks for documents that are vectors, beside those of `words`."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dsh_jax.networks.code_encoder import CodeEncoder


class VectorEncoder(CodeEncoder):
    """Maps vectors to code logits."""

    @nn.compact
    def __call__(self, vector: jax.Array, *, train: bool) -> jax.Array:
        """Maps vectors `[batch, width]` to logits `[batch, num_bits]`."""
        vector = nn.Dropout(self.word_dropout, deterministic=not train)(vector)
        layer = nn.Dense(self.hidden or self.num_bits, use_bias=False, name="vectors")
        return self.logits(layer(vector), train=train)


class VectorDecoder(nn.Module):
    """Maps codes to means of standardised vectors; each bit moves a vector in one direction.

    Two arrays in `batch_stats` are set from the data and not trained: the `mean` of all vectors,
    so that a code need not explain it, and one standard `deviation` for all their numbers.

    Attributes:
      width: numbers of a vector.
    """

    width: int

    @nn.compact
    def __call__(self, codes: jax.Array, *, train: bool) -> jax.Array:
        """Maps codes `[batch, num_bits]` to means `[batch, width]`."""
        del train  # all networks have the same signature
        self.variable("batch_stats", "mean", jnp.zeros, (self.width,))
        self.variable("batch_stats", "deviation", jnp.ones, ())
        return nn.Dense(self.width, use_bias=False, name="directions")(codes)
