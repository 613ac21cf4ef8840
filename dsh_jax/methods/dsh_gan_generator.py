"""The generator of DSH-GANs as a config describes it."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax.data.signature import Signature
from dsh_jax.fields import Choice, Integer, Rules
from dsh_jax.methods import kinds
from dsh_jax.methods.base import ImageSource, Variables

GENERATORS = tuple(name for kind in kinds.KINDS.values() for name in kind.generators)
"""Names of networks that map noise and a class vector to an image or a vector."""

FIELDS: Rules = {
    "generator.name": Choice(GENERATORS),
    "generator.width": Integer(1, 65536),
    "generator.z_dim": Integer(1, 65536),
}


def build_generator(config: ConfigDict, signature: Signature) -> nn.Module:
    """The network that `config.generator` describes.

    Raises:
      UserError: it is for the other kind of items.
      ValueError: it cannot draw images of the signature's size.
    """
    kind = kinds.kind_of(signature)
    kind.check(config)
    return kind.generators[config.generator.name](config, signature)


def image_source(config: ConfigDict, signature: Signature) -> ImageSource | None:
    """What draws synthetic images with this config; None where it has no GAN, and of vectors.

    Args:
      config: also one of an earlier version, in which every generator was "dcgan".
      signature: of the data.

    Raises:
      UserError: a field that is missing or invalid.
      ValueError: as for `build_generator`.
    """
    has_gan = config.get("gan", config.get("triplets") == "synthetic")
    if not has_gan or kinds.kind_of(signature) is not kinds.IMAGES:
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
