"""NASH: codes of documents as Bernoulli latent variables, learned from end to end.

Shen, Su, Chapfuwa, Wang, Wang, Henao & Carin: "NASH: Toward End-to-End Neural Architecture for
Generative Semantic Hashing", ACL 2018. Bits are drawn in training, with straight-through gradients,
and decoded with noise whose variance depends on the document.
"""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from dsh_jax.data.signature import Signature
from dsh_jax.fields import Rules, Switch
from dsh_jax.losses.documents import code_divergence
from dsh_jax.methods import variational
from dsh_jax.methods.base import Method, NetworkRecipe, Recipe
from dsh_jax.methods.variational import NETWORK_FIELDS, Latent
from dsh_jax.methods.word_players import DOCUMENTS

FIELDS: Rules = {**variational.FIELDS, "codes.noise": Switch()}


def build(config: ConfigDict, signature: Signature) -> Method:
    """NASH as a config describes it.

    Args:
      config: of an experiment, with its fields checked.
      signature: of the data.

    Raises:
      UserError: a loss is invalid.
    """
    latent = Latent(int(config.codes.noise), sample, kl, first_log_variance=-2.0)
    return variational.build(config, signature, latent, "nash")


def sample(key: jax.Array, logits: jax.Array, log_variance: jax.Array | None) -> jax.Array:
    """Draws bits and adds noise.

    Args:
      key: of the draw.
      logits: of the bits, `[batch, num_bits]`.
      log_variance: of the noise of each document, `[batch, 1]`; None for no noise.

    Returns:
      Bits of -1 and 1 with the gradient of their means, and the noise, `[batch, num_bits]`.
    """
    bit_key, noise_key = jax.random.split(key)
    mean = jnp.tanh(logits / 2)
    drawn = jnp.where(jax.random.bernoulli(bit_key, jax.nn.sigmoid(logits)), 1.0, -1.0)
    bits = mean + jax.lax.stop_gradient(drawn - mean)
    if log_variance is None:
        return bits
    return bits + jnp.exp(0.5 * log_variance) * jax.random.normal(noise_key, bits.shape)


def kl(logits: jax.Array, log_variance: jax.Array | None) -> jax.Array:
    """From fair coins."""
    del log_variance  # the noise is a part of the decoder
    return code_divergence(logits)


RECIPE = Recipe(build, FIELDS, NetworkRecipe(DOCUMENTS, NETWORK_FIELDS, variational.network))
