"""The class-conditional generator with residual blocks and conditional batch normalisation.

After the generator of Miyato & Koyama, "cGANs with projection discriminator", ICLR 2018, and of
Miyato et al., "Spectral normalization for generative adversarial networks", ICLR 2018; conditional
batch normalisation is by Dumoulin, Shlens and Kudlur, ICLR 2017. Ours: the first convolution of a
block comes before the doubling, where it costs a quarter; the doubling is a learned one; and the
seed sees the class as well.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dsh_jax.networks.conv import Conv
from dsh_jax.networks.generator import DCGAN_INIT, Generator, Upsample, doublings_to


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose scale and shift are linear in the class vector.

    With several labels the parts of the labels add up.

    Attributes:
      axis_name: device axis over which batch statistics are averaged; None for one device.
      dtype: compute dtype.
    """

    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, h, w, channels]` and class vectors `[batch, classes]` to the shape of x."""
        x = nn.BatchNorm(
            use_running_average=not train, momentum=0.9, use_scale=False, use_bias=False,
            axis_name=self.axis_name, dtype=self.dtype,
        )(x)
        scale, shift = (
            nn.Dense(
                x.shape[-1], kernel_init=DCGAN_INIT, bias_init=nn.initializers.constant(at),
                dtype=self.dtype, name=name,
            )(label)[:, None, None, :]
            for name, at in (("scale", 1.0), ("shift", 0.0))
        )
        return x * scale + shift


class UpBlock(nn.Module):
    """A residual block that doubles the image's size.

    Attributes:
      features: number of output channels.
      axis_name: device axis over which batch statistics are averaged; None for one device.
      dtype: compute dtype.
    """

    features: int
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, h, w, channels]` to `[batch, 2h, 2w, features]`."""

        def activated(x: jax.Array) -> jax.Array:
            return nn.relu(
                ConditionalBatchNorm(self.axis_name, self.dtype)(x, label, train=train)
            )

        kept = Conv(self.features, (1, 1), dtype=self.dtype)(x)
        kept = kept.repeat(2, axis=1).repeat(2, axis=2)
        x = Conv(self.features, (3, 3), use_bias=False, dtype=self.dtype)(activated(x))
        lecun = nn.initializers.lecun_normal()
        return kept + Upsample(self.features, dtype=self.dtype, kernel_init=lecun)(activated(x))


class ResidualGenerator(Generator):
    """`G(z, c)`: a 4x4 seed, a residual block for every doubling, a 3x3 convolution, then tanh.

    Its attributes are those of `Generator`; the last block has half of `width` channels.
    """

    @nn.compact
    def __call__(self, z: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        """Draws images, as `Generator` does."""
        doublings = doublings_to(self.image_shape)
        features = self.width * 2 ** (doublings - 1)
        x = jnp.concatenate([z, label], axis=-1).astype(self.dtype)
        x = nn.Dense(16 * features, dtype=self.dtype)(x).reshape(-1, 4, 4, features)
        for level in range(1, doublings + 1):
            x = UpBlock(max(1, features >> level), self.axis_name, self.dtype)(
                x, label, train=train
            )
        x = nn.relu(ConditionalBatchNorm(self.axis_name, self.dtype)(x, label, train=train))
        x = Conv(
            self.image_shape[-1], (3, 3), kernel_init=DCGAN_INIT, dtype=self.dtype
        )(x)
        return jnp.tanh(x.astype(jnp.float32))
