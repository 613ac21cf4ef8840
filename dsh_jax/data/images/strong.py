"""Strong views: heavy distortions under which an image must keep its class.

After RandAugment (Cubuk et al., 2020) and FixMatch (Sohn et al., NeurIPS 2020), but with every
distortion drawn at once instead of a few from a list: one affine warp, one change of colours and a
hole. Everything is vectorised over the batch and runs on the device.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from dsh_jax.data.images.augment import cut_out


@dataclass(frozen=True)
class Strong:
    """How strong the distortions may be. All are drawn uniformly between none and the most.

    Attributes:
      rotate: degrees to either side.
      shear: of columns against rows and the other way, as a share.
      scale: logarithm of the factor, to either side.
      shift: share of the image's size, to every side.
      colour: brightness, contrast and saturation; 0 to 1.
      grey: probability of losing all colour.
      negative: probability of turning into the negative.
      cutout: rows and columns of a hole; 0 is none.
    """

    rotate: float
    shear: float
    scale: float
    shift: float
    colour: float
    grey: float
    negative: float
    cutout: int

    def __call__(self, keys: jax.Array, images: jax.Array) -> jax.Array:
        """Distorts images in [-1, 1] `[batch, h, w, c]`, with one key each `[batch]`."""
        draw = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 2), (12,)))(keys)
        sides, chances = 2 * draw[:, :9] - 1, draw[:, 9:]  # -1 to 1, and 0 to 1
        images = warp(images, self._matrices(sides), self.shift * sides[:, 4:6])
        images = self._recolour(images, sides[:, 6:9], chances)
        return cut_out(keys, images, size=self.cutout) if self.cutout else images

    def _matrices(self, sides: jax.Array) -> jax.Array:
        """Linear parts of the warps, `[batch, 2, 2]`, from numbers in [-1, 1] `[batch, 9]`."""
        angle = jnp.deg2rad(self.rotate) * sides[:, 0]
        shear = self.shear * sides[:, 1:3]
        factor = jnp.exp(self.scale * sides[:, 3])[:, None, None]
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        turn = jnp.stack([cos, -sin, sin, cos], axis=1).reshape(-1, 2, 2)
        one = jnp.ones_like(angle)
        slant = jnp.stack([one, shear[:, 0], shear[:, 1], one], axis=1).reshape(-1, 2, 2)
        return factor * (turn @ slant)

    def _recolour(self, images: jax.Array, sides: jax.Array, chances: jax.Array) -> jax.Array:
        """Brightness, contrast, saturation, grey and negative; stays in [-1, 1]."""
        brightness, contrast, saturation = self.colour * jnp.moveaxis(sides, 1, 0)

        def of(numbers: jax.Array) -> jax.Array:
            return numbers[:, None, None, None]

        luma = images.mean(axis=-1, keepdims=True)
        is_grey = chances[:, 0] < self.grey
        images = luma + of(jnp.where(is_grey, 0.0, 1 + saturation)) * (images - luma)
        mean = images.mean(axis=(1, 2, 3), keepdims=True)
        images = mean + of(1 + contrast) * (images - mean) + of(brightness)
        images = jnp.where(of(chances[:, 1] < self.negative), -images, images)
        return jnp.clip(images, -1.0, 1.0)


def warp(images: jax.Array, matrices: jax.Array, shifts: jax.Array) -> jax.Array:
    """Warps images about their centre, with bilinear interpolation.

    Args:
      images: `[batch, height, width, channels]`.
      matrices: where an output pixel's offset from the centre lies in the input, `[batch, 2, 2]`,
        rows first.
      shifts: added to that, as a share of height and width, `[batch, 2]`.

    Returns:
      Images of the same shape; outside of the input its border goes on.
    """
    _, height, width, _ = images.shape
    centre = jnp.array([height - 1, width - 1]) / 2
    rows, columns = jnp.mgrid[:height, :width]
    offsets = jnp.stack([rows, columns], axis=-1).reshape(-1, 2) - centre
    size = jnp.array([height, width], images.dtype)

    def one(image: jax.Array, matrix: jax.Array, shift: jax.Array) -> jax.Array:
        place = offsets @ matrix.T + centre + shift * size
        place = jnp.clip(place, 0.0, size - 1)
        low = jnp.minimum(jnp.floor(place), size - 2)
        share = place - low
        index = low.astype(jnp.int32)
        flat = image.reshape(height * width, -1)
        first = index[:, 0] * width + index[:, 1]
        corners = [flat[first + i * width + j] for i in (0, 1) for j in (0, 1)]
        row, column = share[:, :1], share[:, 1:]
        top = (1 - column) * corners[0] + column * corners[1]
        bottom = (1 - column) * corners[2] + column * corners[3]
        return ((1 - row) * top + row * bottom).reshape(image.shape)

    return jax.vmap(one)(images, matrices, shifts)
