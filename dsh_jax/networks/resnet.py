"""ResNet-18, -34 and -50 as torchvision and timm have them, without the classifier.

He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", CVPR 2016; the stride of a
bottleneck block is in its 3x3 convolution ("v1.5"), as in both libraries. Modules have those
libraries' names, a dot written as "_", so that weights find their places.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dsh_jax.networks.conv import Conv

_HE = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ResNet(nn.Module):
    """A residual network; features are the mean over all pixels of its last maps.

    Attributes:
      depths: blocks of each of the four groups.
      bottleneck: whether a block has three convolutions, the last with four times the channels.
      width: channels of the first group.
      axis_name: device axis over which batch statistics are averaged; None for one device.
      dtype: compute dtype.
    """

    depths: tuple[int, int, int, int]
    bottleneck: bool
    width: int = 64
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images `[batch, h, w, 3]`, normalised, to features.

        Args:
          images: see above.
          train: whether batch normalisation uses the statistics of the batch.

        Returns:
          `[batch, 8 * width]`, or `[batch, 32 * width]` with bottlenecks.
        """
        x = images.astype(self.dtype)
        x = nn.relu(self._norm("bn1", train)(_conv("conv1", self.width, 7, 2, self.dtype)(x)))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for group, depth in enumerate(self.depths):
            for block in range(depth):
                x = Block(
                    self.width * 2**group, 2 if group and not block else 1, self.bottleneck,
                    self.axis_name, self.dtype, name=f"layer{group + 1}_{block}",
                )(x, train)  # fmt: skip
        return jnp.mean(x, axis=(1, 2))

    def _norm(self, name: str, train: bool) -> nn.BatchNorm:
        return _batch_norm(name, train, self.axis_name, self.dtype)


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or 1x1, 3x3, 1x1.

    Attributes:
      width: channels of the 3x3 convolutions.
      stride: of the first of them.
      bottleneck, axis_name, dtype: as for `ResNet`.
    """

    width: int
    stride: int
    bottleneck: bool
    axis_name: str | None
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        outputs = 4 * self.width if self.bottleneck else self.width
        layers = [(self.width, 3, self.stride), (self.width, 3, 1)]
        if self.bottleneck:
            layers = [(self.width, 1, 1), (self.width, 3, self.stride), (outputs, 1, 1)]
        y = x
        for number, (channels, size, stride) in enumerate(layers, start=1):
            y = _conv(f"conv{number}", channels, size, stride, self.dtype)(y)
            y = self._norm(f"bn{number}", train)(y)
            y = nn.relu(y) if number < len(layers) else y
        if self.stride > 1 or x.shape[-1] != outputs:
            x = _conv("downsample_0", outputs, 1, self.stride, self.dtype)(x)
            x = self._norm("downsample_1", train)(x)
        return nn.relu(x + y)

    def _norm(self, name: str, train: bool) -> nn.BatchNorm:
        return _batch_norm(name, train, self.axis_name, self.dtype)


def _batch_norm(
    name: str, train: bool, axis_name: str | None, dtype: jnp.dtype
) -> nn.BatchNorm:
    return nn.BatchNorm(
        use_running_average=not train, momentum=0.9, epsilon=1e-5, axis_name=axis_name,
        dtype=dtype, name=name,
    )  # fmt: skip


def _conv(name: str, channels: int, size: int, stride: int, dtype: jnp.dtype):
    """A convolution padded as PyTorch pads it: by half of the kernel on both sides."""
    conv = Conv(
        channels, (size, size), (stride, stride), "VALID", use_bias=False, kernel_init=_HE,
        dtype=dtype, name=name,
    )  # fmt: skip
    pad = (size - 1) // 2

    def apply(x: jax.Array) -> jax.Array:
        # Not "SAME": with a stride of 2 it pads only below and on the right.
        return conv(jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0))) if pad else x)

    return apply
