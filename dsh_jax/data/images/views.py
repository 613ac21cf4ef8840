"""Random resized crops and changes of colour, on the device, as networks for photographs learn.

After Szegedy et al., "Going deeper with convolutions", CVPR 2015 (crops), and torchvision's
`RandomResizedCrop` and `ColorJitter`, with one order of the changes for all images.
"""

import jax
import jax.numpy as jnp

_RATIO = 4 / 3  # of a crop's sides, at most


def resized_crop(keys: jax.Array, images: jax.Array, *, least_area: float) -> jax.Array:
    """A random part of each image, resized to the image's size.

    Its share of the area is between `least_area` and 1, the ratio of its sides between 3/4 and 4/3,
    all equally likely (the ratio by its logarithm). Bilinear, without antialiasing: a crop is
    rarely shrunk.

    Args:
      keys: one key per image, `[batch]`.
      images: float, `[batch, height, width, channels]`.
      least_area: above 0; 1 keeps all but what another ratio of the sides takes away.

    Returns:
      Images of the same shape and dtype.
    """
    _, height, width, _ = images.shape

    def one(key: jax.Array, image: jax.Array) -> jax.Array:
        area, ratio, row, column = jax.random.uniform(jax.random.fold_in(key, 3), (4,))
        area = least_area + (1 - least_area) * area
        ratio = _RATIO ** (2 * ratio - 1)
        sides = jnp.minimum(jnp.sqrt(area * jnp.array([ratio, 1 / ratio])), 1.0)
        rows = _interpolation(height, sides[0], row)
        columns = _interpolation(width, sides[1], column)
        return jnp.einsum("ih,hwc,jw->ijc", rows, image, columns).astype(image.dtype)

    return jax.vmap(one)(keys, images)


def _interpolation(size: int, share: jax.Array, place: jax.Array) -> jax.Array:
    """Weights `[size, size]` of a side's pixels in each pixel of a crop of it.

    Args:
      size: of the side.
      share: of it that the crop has.
      place: of the crop on the rest of the side, from 0 to 1.
    """
    first = place * (1 - share) * size
    at = first + (jnp.arange(size) + 0.5) * share - 0.5
    distance = jnp.abs(jnp.clip(at, 0, size - 1)[:, None] - jnp.arange(size))
    return jnp.maximum(1 - distance, 0.0)


def recolour(keys: jax.Array, images: jax.Array, *, most: float) -> jax.Array:
    """Changes brightness, contrast and saturation of each image.

    Args:
      keys: one key per image, `[batch]`.
      images: in [-1, 1], `[batch, height, width, channels]`.
      most: factors are between `1 - most` and `1 + most`, all equally likely.

    Returns:
      Images of the same shape and dtype, in [-1, 1].
    """

    def one(key: jax.Array, image: jax.Array) -> jax.Array:
        drawn = jax.random.uniform(jax.random.fold_in(key, 4), (3,), minval=-most, maxval=most)
        brightness, contrast, saturation = 1 + drawn
        pixels = (image + 1) / 2 * brightness
        pixels = (pixels - pixels.mean()) * contrast + pixels.mean()
        grey = pixels.mean(axis=-1, keepdims=True)
        pixels = (pixels - grey) * saturation + grey
        return jnp.clip(2 * pixels - 1, -1.0, 1.0).astype(image.dtype)

    return jax.vmap(one)(keys, images)
