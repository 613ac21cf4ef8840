"""The class-conditional generator, after DCGAN: maps noise and a class vector to an image.

Radford, Metz, Chintala: "Unsupervised representation learning with deep convolutional generative
adversarial networks", ICLR 2016. The DSH-GANs paper does not give its layers; these are our choice.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from dsh_jax.networks.conv import Conv

DCGAN_INIT = nn.initializers.normal(0.02)


class Upsample(nn.Module):
    """DCGAN's 4x4 transposed convolution of stride 2, written as one 2x2 convolution.

    Each output pixel of such a layer sees a 2x2 window of the input, and its weights depend only on
    whether its row and column are even or odd. So one 2x2 convolution with four times the channels
    computes all four cases, which are then interleaved into an image of twice the size.

    Attributes:
      features: number of output channels.
      use_bias: whether a bias is added.
      dtype: compute dtype.
      kernel_init: initializer of the 2x2 kernel.
    """

    features: int
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = DCGAN_INIT

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[batch, h, w, channels]` to `[batch, 2h, 2w, features]`."""
        batch, height, width, _ = x.shape
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = Conv(
            4 * self.features, (2, 2), padding="VALID", use_bias=False,
            kernel_init=self.kernel_init, dtype=self.dtype,
        )(x).reshape(batch, height + 1, width + 1, 2, 2, self.features)
        rows = [
            jnp.stack([windows[:, i : i + height, j : j + width, i, j] for j in (0, 1)], axis=3)
            for i in (0, 1)
        ]
        image = jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, self.features)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            image = image + bias.astype(self.dtype)
        return image


class Generator(nn.Module):
    """`G(z, c)`: a 4x4 seed, doubled until the image size is reached, then tanh.

    Attributes:
      image_shape: `(height, width, channels)`; square, 4 times a power of two.
      width: channels before the last doubling; each earlier layer has twice as many.
      axis_name: device axis over which batch statistics are averaged; None for one device.
      dtype: compute dtype.

    Raises:
      ValueError: an image size that is not reached from 4 x 4 by doubling.
    """

    image_shape: tuple[int, int, int]
    width: int
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        doublings_to(self.image_shape)
        super().__post_init__()

    @nn.compact
    def __call__(self, z: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        """Draws images.

        Args:
          z: noise, `[batch, z_dim]`.
          label: class vector, one-hot or multi-hot, `[batch, classes]`.
          train: use this batch's statistics (and update the running ones) or the running ones.

        Returns:
          Images in [-1, 1], float32, `[batch, height, width, channels]`.
        """
        channels = self.image_shape[-1]
        doublings = doublings_to(self.image_shape)

        def norm(x: jax.Array) -> jax.Array:
            x = nn.BatchNorm(
                use_running_average=not train, momentum=0.9, axis_name=self.axis_name,
                dtype=self.dtype,
            )(x)
            return nn.relu(x)

        features = self.width * 2 ** (doublings - 1)
        x = jnp.concatenate([z, label], axis=-1).astype(self.dtype)
        x = nn.Dense(16 * features, use_bias=False, kernel_init=DCGAN_INIT, dtype=self.dtype)(x)
        x = norm(x.reshape(-1, 4, 4, features))
        for level in range(doublings - 1):
            features = self.width * 2 ** (doublings - 2 - level)
            x = norm(Upsample(features, use_bias=False, dtype=self.dtype)(x))
        x = Upsample(channels, dtype=self.dtype)(x)
        return jnp.tanh(x.astype(jnp.float32))


def doublings_to(image_shape: tuple[int, int, int]) -> int:
    """How often a seed of 4 x 4 pixels is doubled to images `(height, width, channels)`.

    Raises:
      ValueError: a size that is not reached by doubling.
    """
    height, width, _ = image_shape
    doublings = round(math.log2(height / 4)) if height >= 4 else 0
    if height != width or doublings < 1 or 4 * 2**doublings != height:
        raise ValueError(
            f"the generator cannot draw {height}x{width} images; resize them to a square of "
            "8, 16, 32, 64 or 128 pixels."
        )
    return doublings
