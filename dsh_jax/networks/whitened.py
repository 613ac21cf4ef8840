"""A small, fast convolutional network for small images, whose first layer whitens patches.

After the speed-run networks for CIFAR-10: Jordan, "94% on CIFAR-10 in 3.29 seconds on a single
GPU", 2024, arXiv 2404.00498; the whitening layer after Coates, Ng and Lee, AISTATS 2011. A fixed
2x2 convolution whitens patches, of large images patches side by side; three groups of two 3x3
convolutions with batch normalisation follow, and a maximum over all pixels.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dsh_jax.networks.conv import Conv, conv2d, max_pool

PATCH = 2  # rows and columns of a whitened patch
LARGE = 64  # pixels; in images of this height or more patches do not overlap
_GROUPS = (1, 4, 4)  # their channels, in multiples of the width
_SMALLEST = 5e-4  # added to the eigenvalues, for images in [-1, 1]


def whitening_kernel(images: np.ndarray) -> np.ndarray:
    """The kernel that whitens patches of some images.

    Args:
      images: in [-1, 1], `[n, height, width, channels]`.

    Returns:
      Eigenvectors of the patches' covariance over the square roots of their eigenvalues, each with
      both signs, float32 `[PATCH, PATCH, channels, 2 * PATCH * PATCH * channels]`.
    """
    channels = images.shape[-1]
    height, width = (size - PATCH + 1 for size in images.shape[1:3])
    corners = [(i, j) for i in range(PATCH) for j in range(PATCH)]
    patches = np.stack([images[:, i : i + height, j : j + width] for i, j in corners], axis=3)
    patches = patches.reshape(-1, PATCH * PATCH * channels).astype(np.float64)
    values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / np.sqrt(values + _SMALLEST))[:, ::-1]  # strongest first
    kernel = np.concatenate([filters, -filters], axis=1)
    return kernel.reshape(PATCH, PATCH, channels, -1).astype(np.float32)


def fit(batch_stats: Mapping[str, Any], images: np.ndarray) -> dict[str, Any]:
    """The network's statistics with the kernel that whitens patches of some images in [-1, 1]."""
    return {**batch_stats, "whitening": {"kernel": jnp.asarray(whitening_kernel(images))}}


def identity_init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    """A kernel `[h, w, inputs, outputs]` whose first outputs copy the inputs."""
    # Batch normalisation hides the scale from the output; a smaller kernel turns faster.
    kernel = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")(key, shape, dtype)
    rows, columns, inputs, outputs = shape
    copied = min(inputs, outputs)
    kernel = kernel.at[..., :copied].set(0.0)
    index = jnp.arange(copied)
    return kernel.at[rows // 2, columns // 2, index, index].set(1.0)


class Whitening(nn.Module):
    """The first layer: its kernel is a statistic of the data, and nothing in it is trained."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (PATCH, PATCH, x.shape[-1], 2 * PATCH * PATCH * x.shape[-1])
        # Random until `fit` has seen the data, so that the network works without it.
        initial = lambda: nn.initializers.he_uniform()(self.make_rng("params"), shape)  # noqa: E731
        kernel = self.variable("batch_stats", "kernel", initial).value
        # Patches side by side lose nothing: their pixels can be had back from the output. The
        # groups then take as long as for images of half the height.
        step = PATCH if x.shape[1] >= LARGE else 1
        kernel = jax.lax.stop_gradient(kernel).astype(x.dtype)
        return conv2d(x, kernel, strides=(step, step), padding="VALID")


class WhitenedCnn(nn.Module):
    """Whitening, three groups of two convolutions, and the maximum over all pixels.

    Attributes:
      width: channels of the first group; the next two have 4 times as many.
      axis_name: device axis over which batch statistics are averaged; None for one device.
      dtype: compute dtype.
    """

    width: int
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images `[batch, h, w, c]` to features `[batch, 4 * width]`."""

        def conv(x: jax.Array, channels: int) -> jax.Array:
            return Conv(
                channels, (3, 3), use_bias=False, kernel_init=identity_init, dtype=self.dtype
            )(x)

        def activate(x: jax.Array) -> jax.Array:
            x = nn.BatchNorm(
                use_running_average=not train, momentum=0.9, epsilon=1e-5, use_scale=False,
                axis_name=self.axis_name, dtype=self.dtype,
            )(x)
            return nn.gelu(x)

        x = nn.gelu(Whitening(name="whitening")(images.astype(self.dtype)))
        for ratio in _GROUPS:
            x = conv(x, self.width * ratio)
            x = max_pool(x) if min(x.shape[1:3]) > 1 else x
            x = activate(x)
            x = activate(conv(x, self.width * ratio))
        # Small, so that the streams on top learn as slowly as the convolutions need, as in the
        # source: a learning rate that suits these would be ten times too high for those.
        return jnp.max(x, axis=(1, 2)) / 9
