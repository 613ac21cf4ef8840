"""The shared representation, by name: `conv3`, `alexnet`, `wide_resnet`, `whitened`; `mlp`.

Each maps images in [-1, 1] `[batch, height, width, channels]` to features `[batch, features]`;
`mlp` maps vectors `[batch, width]`. Only `whitened` normalises by batch statistics, and `mlp` if
asked to. Those of real and of synthetic items are kept apart: shared ones would reveal to the
adversary which items are which.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from dsh_jax.networks import mlp
from dsh_jax.networks.conv import Conv, max_pool
from dsh_jax.networks.whitened import WhitenedCnn

OF_IMAGES = ("conv3", "alexnet", "wide_resnet", "whitened")
NAMES = (*OF_IMAGES, "mlp")
AUTOMATIC = -1
"""Outputs of a network's dense layers as published: `_FEATURES`."""
_FEATURES = {"conv3": 500, "alexnet": 4096, "wide_resnet": 0, "whitened": 0}
NORMS = ("none", "group", "batch", "layer")
"""Normalisations: the first two of networks for images, all but "group" of `mlp`."""

_HE = nn.initializers.he_normal()


class _Norm(nn.Module):
    """Group normalisation with at least 8 channels per group, or the identity."""

    kind: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.kind == "none":
            return x
        return nn.GroupNorm(num_groups=max(1, min(32, x.shape[-1] // 8)), dtype=self.dtype)(x)


class _SpectralConv(nn.Module):
    """A square convolution, optionally spectrally normalised."""

    features: int
    size: int
    spectral_norm: bool
    dtype: jnp.dtype
    strides: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        conv = Conv(
            self.features, (self.size, self.size), self.strides, kernel_init=_HE, dtype=self.dtype
        )
        if self.spectral_norm:
            return nn.SpectralNorm(conv)(x, update_stats=train)
        return conv(x)


class Conv3(nn.Module):
    """CNNH's network: three blocks of 5x5 convolution and pooling, one dense layer.

    Xia, Pan, Lai, Liu, Yan: "Supervised Hashing for Image Retrieval via Image Representation
    Learning", AAAI 2014: `width` 32, `features` 500, dropout 0.5. On small images
    kernels shrink so that they are no larger than their feature map.

    Attributes:
      width: filters of the first block; the next two have 2 and 4 times as many.
      features: outputs of the dense layer.
      dropout: probability of dropping an output of the dense layer.
      norm: "none" (the paper) or "group".
      spectral_norm: normalise every convolution by its largest singular value.
      dtype: compute dtype.
    """

    width: int
    features: int
    dropout: float
    norm: str
    spectral_norm: bool
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images `[batch, h, w, c]` to features `[batch, features]`."""
        x = images.astype(self.dtype)
        for block in range(3):
            size = min(5, (x.shape[1] - 1) // 2 * 2 + 1)  # odd
            conv = _SpectralConv(self.width * 2**block, size, self.spectral_norm, self.dtype)
            x = conv(x, train)
            x = max_pool(nn.relu(_Norm(self.norm, self.dtype)(x)))
        x = nn.Dense(self.features, kernel_init=_HE, dtype=self.dtype)(x.reshape(x.shape[0], -1))
        return nn.Dropout(self.dropout, deterministic=not train)(nn.relu(x))


class AlexNet(nn.Module):
    """Five convolutions and two dense layers of AlexNet's size (Krizhevsky et al., NIPS 2012).

    The first stride is 4 for images of 128 pixels or more, and 1 for smaller ones.

    Attributes:
      width: filters of the first layer (64 in the one-tower form); the others scale with it.
      features: outputs of each dense layer (4096 in the original).
      dropout, norm, spectral_norm, dtype: as for `Conv3`.
    """

    width: int
    features: int
    dropout: float
    norm: str
    spectral_norm: bool
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images `[batch, h, w, c]` to features `[batch, features]`."""
        first = (11, (4, 4)) if images.shape[1] >= 128 else (5, (1, 1))
        x = images.astype(self.dtype)
        for ratio, (size, strides), pool in (
            (1, first, True),
            (3, (5, (1, 1)), True),
            (6, (3, (1, 1)), False),
            (4, (3, (1, 1)), False),
            (4, (3, (1, 1)), True),
        ):
            x = _SpectralConv(self.width * ratio, size, self.spectral_norm, self.dtype, strides)(
                x, train
            )
            x = nn.relu(_Norm(self.norm, self.dtype)(x))
            x = max_pool(x) if pool else x
        x = x.reshape(x.shape[0], -1)
        for _ in range(2):
            x = nn.relu(nn.Dense(self.features, kernel_init=_HE, dtype=self.dtype)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return x


class WideResNet(nn.Module):
    """A wide residual network for 32x32 images (Zagoruyko & Komodakis, BMVC 2016).

    Attributes:
      depth: number of layers, `6 n + 4`; 16 with `width` 64 is WideResNet-16-4.
      width: channels of the first of the three groups; the next have 2 and 4 times as many.
      features: outputs of a dense layer after the mean over pixels; 0 for no such layer.
      dropout, norm, spectral_norm, dtype: as for `Conv3`; dropout is on the features.
    """

    depth: int
    width: int
    features: int
    dropout: float
    norm: str
    spectral_norm: bool
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images `[batch, h, w, c]` to features `[batch, features or 4 * width]`."""

        def conv(x: jax.Array, channels: int, size: int = 3, stride: int = 1) -> jax.Array:
            strides = (stride, stride)
            return _SpectralConv(channels, size, self.spectral_norm, self.dtype, strides)(x, train)

        def activate(x: jax.Array) -> jax.Array:
            return nn.relu(_Norm(self.norm, self.dtype)(x))

        x = conv(images.astype(self.dtype), 16)
        for group in range(3):
            channels = self.width * 2**group
            for block in range((self.depth - 4) // 6):
                stride = 2 if group > 0 and block == 0 else 1
                y = activate(x)
                shortcut = x if block else conv(y, channels, 1, stride)
                y = conv(activate(conv(y, channels, 3, stride)), channels)
                x = shortcut + y
        x = jnp.mean(activate(x), axis=(1, 2))
        if self.features:
            x = nn.relu(nn.Dense(self.features, kernel_init=_HE, dtype=self.dtype)(x))
        return nn.Dropout(self.dropout, deterministic=not train)(x)


def uses_batch_statistics(name: str, norm: str) -> bool:
    """Whether the output of a network in training depends on the whole batch."""
    return name == "whitened" or (name == "mlp" and norm == "batch")


def build(
    name: str,
    *,
    width: int,
    depth: int,
    features: int,
    dropout: float,
    norm: str,
    spectral_norm: bool,
    dtype: jnp.dtype,
    axis_name: str | None = None,
) -> nn.Module:
    """Builds the representation that a config names.

    Raises:
      ValueError: an unknown name or normalisation, an invalid depth or number of features, or a
        setting that the network does not have.
    """
    if features == AUTOMATIC:
        features = _FEATURES.get(name, 0)
    norms = mlp.NORMS if name == "mlp" else NORMS[:2]
    if norm not in norms:
        raise ValueError(f"representation.norm is {norm!r}; {name} has one of {norms}.")
    if name == "mlp":
        if features or depth > mlp.MOST_LAYERS:
            raise ValueError(
                "the network 'mlp' has up to 3 layers of representation.width outputs; set "
                "representation.depth to 0, 1, 2 or 3 and representation.features to 0."
            )
        return mlp.Mlp(depth, width, dropout, norm, spectral_norm, axis_name, dtype)
    if depth < 1:
        raise ValueError(f"representation.depth is {depth}; {name} needs 1 or more.")
    if features < 1 and name not in ("wide_resnet", "whitened"):
        raise ValueError(f"representation.features is {features}; {name} needs 1 or more.")
    if name == "wide_resnet" and (depth < 10 or (depth - 4) % 6):
        raise ValueError(f"representation.depth is 10, 16, 22, 28 ... (6 n + 4), not {depth}.")
    if name == "whitened" and (features or dropout or spectral_norm):
        raise ValueError(
            "the network 'whitened' has no dense layer, dropout or spectral norm; set "
            "representation.features and dropout to 0 and spectral_norm to False."
        )
    networks: dict[str, Callable[[], nn.Module]] = {
        "conv3": lambda: Conv3(width, features, dropout, norm, spectral_norm, dtype),
        "alexnet": lambda: AlexNet(width, features, dropout, norm, spectral_norm, dtype),
        "wide_resnet": lambda: WideResNet(
            depth, width, features, dropout, norm, spectral_norm, dtype
        ),
        "whitened": lambda: WhitenedCnn(width, axis_name, dtype),
    }
    if name not in networks:
        raise ValueError(f"representation.name is one of {sorted(networks)}, not {name!r}.")
    return networks[name]()
