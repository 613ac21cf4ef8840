"""Augmentation on the device: random crops, horizontal flips and holes."""

import jax
import jax.numpy as jnp
import numpy as np

from dsh_jax.data.images.views import recolour, resized_crop


def to_float(images: jax.Array) -> jax.Array:
    """Maps uint8 images to float32 in [-1, 1], of the same shape.

    Features of images, `[batch, views, features]`, stay as they are.
    """
    if images.ndim == 3:
        return images
    return images.astype(jnp.float32) / 127.5 - 1.0


def as_uint8(images: jax.Array | np.ndarray) -> np.ndarray:
    """Images in [-1, 1] as uint8, the inverse of `to_float`; NaN is black."""
    finite = np.nan_to_num(np.asarray(images), nan=-1.0)
    return np.clip(np.round((finite + 1) * 127.5), 0, 255).astype(np.uint8)


def augment(
    keys: jax.Array,
    images: jax.Array,
    *,
    crop_padding: int,
    flip: bool,
    cutout: int = 0,
    least_area: float = 1.0,
    colour: float = 0.0,
) -> jax.Array:
    """Pads each image and crops it to its size at a random place; flips it with probability 1/2.

    The padding mirrors the image: a generator would learn to draw black borders.

    Args:
      keys: one key per image, `[batch]`.
      images: any dtype, `[batch, height, width, channels]`. Of their features `[batch, views,
        features]`, where the second view is the mirror image's, only flips are possible.
      crop_padding: pixels added on each side before the crop; 0 does not crop.
      flip: whether to flip left to right.
      cutout: size of a square that is set to 0, see `cut_out`; 0 is none.
      least_area: least share of the area of a crop that is resized, see `views.resized_crop`; 1 is
        no such crop.
      colour: largest change of brightness, contrast and saturation, see `views.recolour`; 0 is
        none.

    Returns:
      Images of the same shape and dtype; or features of one view, `[batch, features]`.
    """
    if images.ndim == 3:
        if not flip:
            return images[:, 0]
        draw = jax.vmap(lambda key: jax.random.bernoulli(jax.random.split(key, 3)[2]))
        return jnp.where(draw(keys)[:, None], images[:, 1], images[:, 0])
    _, height, width, channels = images.shape

    def one(key: jax.Array, image: jax.Array) -> jax.Array:
        row_key, column_key, flip_key = jax.random.split(key, 3)
        if crop_padding:
            row = jax.random.randint(row_key, (), 0, 2 * crop_padding + 1)
            column = jax.random.randint(column_key, (), 0, 2 * crop_padding + 1)
            image = jax.lax.dynamic_slice(image, (row, column, 0), (height, width, channels))
        if flip:
            image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
        return image

    if crop_padding:
        pads = ((0, 0), (crop_padding, crop_padding), (crop_padding, crop_padding), (0, 0))
        images = jnp.pad(images, pads, mode="reflect")
    images = jax.vmap(one)(keys, images)
    if least_area < 1:
        images = resized_crop(keys, images, least_area=least_area)
    if colour:
        images = recolour(keys, images, most=colour)
    return cut_out(keys, images, size=cutout) if cutout else images


def cut_out(keys: jax.Array, images: jax.Array, *, size: int) -> jax.Array:
    """Sets a square at a random place of each image to 0, mean grey (DeVries & Taylor, 2017).

    Args:
      keys: one key per image, `[batch]`.
      images: float, `[batch, height, width, channels]`.
      size: rows and columns of the square. Its centre is anywhere in the image, so that a part of
        it may lie outside.

    Returns:
      Images of the same shape and dtype.
    """
    _, height, width, _ = images.shape

    def hole(key: jax.Array) -> jax.Array:
        row_key, column_key = jax.random.split(jax.random.fold_in(key, 1))
        top = jax.random.randint(row_key, (), 0, height) - size // 2
        left = jax.random.randint(column_key, (), 0, width) - size // 2
        rows, columns = jnp.arange(height) - top, jnp.arange(width) - left
        return ((rows >= 0) & (rows < size))[:, None] & ((columns >= 0) & (columns < size))

    return jnp.where(jax.vmap(hole)(keys)[..., None], 0, images)
