"""The three streams on the shared representation: hash, adversary and classification.

All compute in float32, whatever the dtype of the representation, because losses and codes are
computed from their outputs.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp


class HashStream(nn.Module):
    """`num_bits` outputs; their sigmoid is the relaxed code in [0, 1].

    With a `sharpness` (our choice; the paper does not describe its stream) each output is
    standardised over the batch and multiplied by it. The triplet loss alone moves all bits along
    the few directions that separate most classes. There the bits saturate, and two classes with
    the same code get no gradient that could separate them. Standardised bits stay balanced, and
    sharp ones start out different from each other, like random hyperplanes.

    Attributes:
      num_bits: length of the code.
      sharpness: standard deviation of an output over the batch; 0 for a plain dense layer.
      axis_name: device axis over which batch statistics are averaged; None for one device.
    """

    num_bits: int
    sharpness: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, features: jax.Array, *, train: bool) -> jax.Array:
        """Maps features `[batch, features]` to code logits `[batch, num_bits]`."""
        features = features.astype(jnp.float32)
        if not self.sharpness:
            return nn.Dense(self.num_bits)(features)
        standardised = nn.BatchNorm(
            use_running_average=not train, momentum=0.9, use_bias=False, use_scale=False,
            axis_name=self.axis_name,
        )(nn.Dense(self.num_bits, use_bias=False)(features))
        return self.sharpness * standardised


class AdversaryStream(nn.Module):
    """Real or synthetic: one logit.

    Attributes:
      spectral_norm: divide the weights by their largest singular value (for the hinge loss).
    """

    spectral_norm: bool = False

    @nn.compact
    def __call__(self, features: jax.Array, *, train: bool) -> jax.Array:
        """Maps features `[batch, features]` to logits `[batch]`, positive for real."""
        features = features.astype(jnp.float32)
        if self.spectral_norm:
            logits = nn.SpectralNorm(nn.Dense(1))(features, update_stats=train)
        else:
            logits = nn.Dense(1)(features)
        return logits[:, 0]


class ClassificationStream(nn.Module):
    """Class logits, for a softmax (single label) or for sigmoids (multi-label).

    Attributes:
      num_classes: number of classes.
    """

    num_classes: int

    @nn.compact
    def __call__(self, features: jax.Array, *, train: bool) -> jax.Array:
        """Maps features `[batch, features]` to class logits `[batch, num_classes]`."""
        del train  # all streams have the same signature
        return nn.Dense(self.num_classes)(features.astype(jnp.float32))
