"""The layers that encoders of documents end in, whatever they read: words, or vectors."""

import flax.linen as nn
import jax


class CodeEncoder(nn.Module):
    """Code logits by one linear layer, or with one hidden layer; the first layer is a subclass's.

    Attributes:
      num_bits: length of the code.
      hidden: width of the hidden layer; 0 for none.
      dropout: probability for a hidden unit.
      word_dropout: probability for a word of a document, or for a number of a vector.
      sharpness: standard deviation of a logit over the batch, as for `streams.HashStream`; keeps
        bits balanced.
      axis_name: device axis over which batch statistics are averaged.
    """

    num_bits: int
    hidden: int
    dropout: float
    word_dropout: float
    sharpness: float
    axis_name: str | None

    def logits(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps outputs of the first layer, `[batch, hidden or num_bits]`, to `[batch, num_bits]`.

        To be called in the compact method of a subclass.
        """
        if self.hidden:
            bias = self.param("bias", nn.initializers.zeros, (self.hidden,))
            x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(x + bias))
            x = nn.Dense(self.num_bits, use_bias=False)(x)
        return self.sharpness * nn.BatchNorm(
            use_running_average=not train, momentum=0.9, use_bias=False, use_scale=False,
            axis_name=self.axis_name,
        )(x)  # fmt: skip
