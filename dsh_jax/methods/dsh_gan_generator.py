"""The generator of DSH-GANs as a config describes it."""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from dsh_jax.data.signature import Signature
from dsh_jax.devices import AXIS
from dsh_jax.fields import Choice, Integer, Rules
from dsh_jax.networks.generator import Generator
from dsh_jax.networks.residual_generator import ResidualGenerator

GENERATORS: Mapping[str, type[Generator] | type[ResidualGenerator]] = {
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
    generator = GENERATORS[config.generator.name]
    return generator(
        signature.image_shape, config.generator.width, AXIS, jnp.dtype(config.dtype)
    )
