"""A generator whose images are resized, for networks that take larger ones than it can draw."""

import flax.linen as nn
import jax


class Resized(nn.Module):
    """Another generator's images in another size; gradients pass through.

    Attributes:
      generator: `G(z, c)`, see `networks.generator.Generator`.
      size: `(height, width)` of the images returned.
    """

    generator: nn.Module
    size: tuple[int, int]

    def __call__(self, z: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        """Maps noise and class vectors to images in [-1, 1], `[batch, height, width, channels]`."""
        images = self.generator(z, label, train=train)
        shape = (len(images), *self.size, images.shape[-1])
        return jax.image.resize(images, shape, "linear")
