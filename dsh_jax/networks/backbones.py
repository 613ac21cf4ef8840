"""Networks for which pretrained weights are published, and how they are used here.

Each has the sizes of its published weights and prepares images as these expect them. `Pretrained`
puts one to use: images in [-1, 1] in, standardised features out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dsh_jax.networks.resnet import ResNet
from dsh_jax.networks.vit import VisionTransformer

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
_CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_SMALL = {"dim": 384, "depth": 12, "heads": 6}
_BASE = {"dim": 768, "depth": 12, "heads": 12}
_OF_CLIP: dict[str, Any] = {**_BASE, "pre_norm": True, "epsilon": 1e-5}


Normalisation = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Backbone:
    """A network with published weights.

    Attributes:
      build: `(dtype=..., axis_name=...)` -> the module, from normalised images to features.
      normalisation: mean and standard deviation of each colour, of pixels in [0, 1].
      interpolation: by which its images are resized, a key of `decoding.INTERPOLATIONS`.
      image_size: pixels per side.
      hub: where its weights are, as `hf://owner/name`; empty for none.
      multiple: image sides are multiples of this.
      has_batch_norm: whether its output depends on the statistics of the batch in training.
    """

    build: Callable[..., nn.Module]
    normalisation: Normalisation
    interpolation: str
    hub: str = ""
    image_size: int = 224
    multiple: int = 1
    has_batch_norm: bool = False


def _resnet(
    hub: str, depths: tuple[int, int, int, int], bottleneck: bool, width: int = 64
) -> Backbone:
    build = partial(ResNet, depths, bottleneck, width)
    return Backbone(build, _IMAGENET, "bilinear", hub, has_batch_norm=True)


def _vit(
    hub: str, normalisation: Normalisation, patch: int, image_size: int = 224, **sizes: Any
) -> Backbone:
    def build(*, dtype: jnp.dtype, axis_name: str | None) -> nn.Module:
        del axis_name  # nothing is averaged over devices
        return VisionTransformer(patch, dtype=dtype, **sizes)

    return Backbone(build, normalisation, "bicubic", hub, image_size, patch)


BACKBONES: Mapping[str, Backbone] = {
    "resnet18": _resnet("hf://timm/resnet18.tv_in1k", (2, 2, 2, 2), False),
    "resnet34": _resnet("hf://timm/resnet34.tv_in1k", (3, 4, 6, 3), False),
    "resnet50": _resnet("hf://timm/resnet50.tv_in1k", (3, 4, 6, 3), True),
    "vit_s16": _vit("hf://timm/vit_small_patch16_224.augreg_in21k_ft_in1k", _HALF, 16, **_SMALL),
    "vit_b16": _vit("hf://timm/vit_base_patch16_224.augreg_in21k_ft_in1k", _HALF, 16, **_BASE),
    "dinov2_s14": _vit(
        "hf://timm/vit_small_patch14_dinov2.lvd142m", _IMAGENET, 14, layer_scale=True, **_SMALL
    ),
    "dinov2_b14": _vit(
        "hf://timm/vit_base_patch14_dinov2.lvd142m", _IMAGENET, 14, layer_scale=True, **_BASE
    ),
    # OpenAI's; those of LAION have the usual GELU.
    "clip_b16": _vit(
        "hf://timm/vit_base_patch16_clip_224.openai", _CLIP, 16, quick_gelu=True, **_OF_CLIP
    ),
    "clip_b32": _vit(
        "hf://timm/vit_base_patch32_clip_224.openai", _CLIP, 32, quick_gelu=True, **_OF_CLIP
    ),
    "openclip_b16": _vit("hf://timm/vit_base_patch16_clip_224.laion2b", _CLIP, 16, **_OF_CLIP),
    # For tests; there are no weights.
    "tiny_resnet": _resnet("", (1, 1, 1, 1), False, 8),
    "tiny_vit": _vit(
        "", _HALF, 4, 32, dim=16, depth=2, heads=2, mlp_ratio=2, layer_scale=True, pre_norm=True
    ),
}
"""Values of a config's `representation.name`, beside those of `networks.representation`."""

_LENGTH = 3.0
"""Mean length of a feature vector: streams then learn at the rates that suit small networks."""
_LEAST = 0.01
"""Of the mean variance; added to each, as some features hardly vary."""


class Pretrained(nn.Module):
    """A backbone between images in [-1, 1] and standardised features.

    Each feature has mean 0 and the same variance over the training images, once `standardise` has
    seen some of them; published weights give features of any scale. The parameters of the backbone
    are in `backbone`.

    Attributes:
      backbone: from normalised images to features.
      mean, std: of each colour, of pixels in [0, 1].
      frozen_batch_norm: whether training uses the running statistics and does not change them.
    """

    backbone: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    frozen_batch_norm: bool = False

    def setup(self) -> None:
        self.standardised = Standardised()

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images to features, float32 `[batch, features]`.

        Args:
          images: in [-1, 1], `[batch, h, w, 1 or 3]`; or what `raw` makes of them.
          train: as for the backbone.
        """
        return self.standardised(self.raw(images, train=train) if images.ndim == 4 else images)

    def raw(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """The backbone's own features, float32 `[batch, features]`; arguments: `__call__`."""
        colours = jnp.broadcast_to(images, (*images.shape[:3], 3))
        pixels = (colours.astype(jnp.float32) + 1.0) / 2.0
        normalised = (pixels - jnp.array(self.mean)) / jnp.array(self.std)
        features = self.backbone(normalised, train=train and not self.frozen_batch_norm)
        return features.astype(jnp.float32)


def build(
    name: str,
    *,
    image_shape: tuple[int, int, int],
    normalisation: Normalisation | None,
    features: int,
    dropout: float,
    spectral_norm: bool,
    dtype: jnp.dtype,
    axis_name: str | None,
    frozen_batch_norm: bool,
    width: int = 0,
    depth: int = 0,
    norm: str = "",
) -> Pretrained:
    """Builds the network that a config names.

    Args:
      name: a key of `BACKBONES`.
      image_shape: `(height, width, channels)`.
      normalisation: as for `Backbone`; None takes that of its published weights.
      features, dropout, spectral_norm: fields of `representation`; the network has none of these.
      dtype, axis_name: of the network.
      frozen_batch_norm: as for `Pretrained`.
      width, depth, norm: fields of `representation` that are not used: published sizes are fixed.

    Raises:
      ValueError: a setting that the network does not have, or images of a size that it cannot take.
    """
    del width, depth, norm
    backbone = BACKBONES[name]
    if features > 0 or dropout or spectral_norm:
        raise ValueError(
            f"the network {name!r} has no dense layer, dropout or spectral norm; set "
            "representation.features and dropout to 0 and spectral_norm to False."
        )
    height, width, _ = image_shape
    if height % backbone.multiple or width % backbone.multiple:
        raise ValueError(
            f"images have {height}x{width} pixels, but {name} cuts them into patches "
            f"of {backbone.multiple}; set data.image_size to {backbone.image_size}."
        )
    mean, std = normalisation or backbone.normalisation
    module = backbone.build(dtype=dtype, axis_name=axis_name)
    return Pretrained(module, mean, std, frozen_batch_norm)


class Standardised(nn.Module):
    """Features minus their mean over their deviation, statistics that nothing trains."""

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        size = features.shape[-1]
        mean = self.variable("batch_stats", "mean", jnp.zeros, (size,)).value
        std = self.variable("batch_stats", "std", jnp.ones, (size,)).value
        return (features - mean) / std * (_LENGTH / size**0.5)


def standardise(features: np.ndarray) -> dict[str, np.ndarray]:
    """The statistics of `Standardised` that fit some features `[n, features]` of a backbone."""
    variance = features.var(axis=0, dtype=np.float64)
    # Where all images have the same features, there is nothing to divide by.
    floor = max(_LEAST * variance.mean(), 1e-12)
    fitted = {"mean": features.mean(axis=0, dtype=np.float64), "std": np.sqrt(variance + floor)}
    return {name: value.astype(np.float32) for name, value in fitted.items()}


def layer_of(path: Sequence[str]) -> int:
    """How deep a parameter of a backbone lies: 0 for the first layer, -1 for what follows the last.

    Args:
      path: of the parameter in the backbone, such as `("blocks_3", "attn_qkv", "kernel")`.
    """
    module, _, number = path[0].partition("_")
    if module == "blocks":
        return int(number) + 1
    if module.startswith("layer"):
        return int(module[len("layer") :])
    return -1 if path[0] == "norm" else 0
