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

    With `projected_classes` it asks whether the image is a real one *of its class*: the inner
    product of features and the class's embedding is added (Miyato & Koyama: "cGANs with projection
    discriminator", ICLR 2018).

    Attributes:
      spectral_norm: divide the weights by their largest singular value (for the hinge loss).
      projected_classes: number of classes with an embedding; 0 for a logit without the class.
    """

    spectral_norm: bool = False
    projected_classes: int = 0

    @nn.compact
    def __call__(
        self, features: jax.Array, label: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Maps features to logits `[batch]`, positive for real.

        Args:
          features: `[batch, features]`.
          label: class vectors `[batch, classes]`; zeros, or None, where the class is not known.
          train: whether estimates of singular values are updated.
        """
        features = features.astype(jnp.float32)

        def dense(size: int, use_bias: bool) -> jax.Array:
            layer = nn.Dense(size, use_bias=use_bias)
            if self.spectral_norm:
                return nn.SpectralNorm(layer)(features, update_stats=train)
            return layer(features)

        logits = dense(1, True)[:, 0]
        if self.projected_classes:
            products = dense(self.projected_classes, False)
            logits += jnp.sum(products * (0.0 if label is None else label), axis=1)
        return logits


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
