"""Augmentation on the device: random crops and horizontal flips of uint8 images."""

import jax
import jax.numpy as jnp


def to_float(images: jax.Array) -> jax.Array:
    """Maps uint8 images to float32 in [-1, 1], of the same shape."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def augment(keys: jax.Array, images: jax.Array, *, crop_padding: int, flip: bool) -> jax.Array:
    """Pads each image and crops it to its size at a random place; flips it with probability 1/2.

    The padding mirrors the image: a generator would learn to draw black borders.

    Args:
      keys: one key per image, `[batch]`.
      images: any dtype, `[batch, height, width, channels]`.
      crop_padding: pixels added on each side before the crop; 0 does not crop.
      flip: whether to flip left to right.

    Returns:
      Images of the same shape and dtype.
    """
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
    return jax.vmap(one)(keys, images)
