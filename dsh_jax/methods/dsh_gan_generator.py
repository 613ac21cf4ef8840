"""The generator of DSH-GANs as a config describes it."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax.data.signature import Signature
from dsh_jax.devices import AXIS
from dsh_jax.fields import Choice, Integer, Rules
from dsh_jax.methods.base import ImageSource, Variables
from dsh_jax.networks.backbones import BACKBONES
from dsh_jax.networks.generator import Generator
from dsh_jax.networks.residual_generator import ResidualGenerator
from dsh_jax.networks.resized import Resized

AUTOMATIC = -1
"""The size of the images; with a pretrained network not more than `SIZE`, and then resized."""
SIZE = 64
GENERATORS: Mapping[str, type[Generator]] = {
    "dcgan": Generator,
    "residual": ResidualGenerator,
}
"""Networks that map noise and a class vector to an image, by name."""

FIELDS: Rules = {
    "generator.name": Choice(tuple(GENERATORS)),
    "generator.width": Integer(1, 65536),
    "generator.z_dim": Integer(1, 65536),
}


def build_generator(config: ConfigDict, signature: Signature) -> nn.Module:
    """The network that `config.generator` describes.

    Raises:
      ValueError: it cannot draw images of the signature's size.
    """
    height, width, channels = signature.image_shape
    size = config.generator.get("image_size", AUTOMATIC)
    if size == AUTOMATIC and config.representation.name in BACKBONES:
        size = min(height, SIZE)
    shape = (height, width, channels) if size == AUTOMATIC else (size, size, channels)
    build = GENERATORS[config.generator.name]
    generator = build(shape, config.generator.width, AXIS, jnp.dtype(config.dtype))
    return generator if shape[:2] == (height, width) else Resized(generator, (height, width))


def image_source(config: ConfigDict, signature: Signature) -> ImageSource | None:
    """What draws synthetic images with this config; None where it has no GAN.

    Args:
      config: also one of an earlier version, in which every generator was "dcgan".
      signature: of the data.

    Raises:
      UserError: a field that is missing or invalid.
      ValueError: as for `build_generator`.
    """
    if not config.get("gan", config.get("triplets") == "synthetic"):
        return None
    config = config.copy_and_resolve_references().unlock()
    if "name" not in config.generator:
        config.generator.name = "dcgan"
    fields.check(config, FIELDS)
    generator, z_dim = build_generator(config, signature), config.generator.z_dim

    def init(key: jax.Array) -> Variables:
        inputs = jnp.zeros((1, z_dim)), jnp.zeros((1, signature.num_classes))
        return {"generator": generator.init(key, *inputs, train=False)}

    def draw(variables: Variables, key: jax.Array, label: jax.Array) -> jax.Array:
        z = jax.random.normal(key, (len(label), z_dim))
        return jnp.asarray(generator.apply(variables["generator"], z, label, train=False))

    return ImageSource(init, draw)
