"""VDSH: codes of documents from the means of a Gaussian latent variable.

Chaidaroon & Fang: "Variational Deep Semantic Hashing for Text Documents", SIGIR 2017. With
`supervised` it is their VDSH-S, where the latent variable also explains the tags.
"""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from dsh_jax.data.signature import Signature
from dsh_jax.losses.variational import gaussian_kl
from dsh_jax.methods import variational
from dsh_jax.methods.base import Method, NetworkRecipe, Recipe
from dsh_jax.methods.variational import FIELDS, NETWORK_FIELDS, Latent
from dsh_jax.methods.word_players import DOCUMENTS


def build(config: ConfigDict, signature: Signature) -> Method:
    """VDSH as a config describes it.

    Args:
      config: of an experiment, with its fields checked.
      signature: of the data.

    Raises:
      UserError: a loss is invalid.
    """
    latent = Latent(config.num_bits, sample, kl)
    return variational.build(config, signature, latent, "vdsh")


def sample(key: jax.Array, means: jax.Array, log_variances: jax.Array | None) -> jax.Array:
    """Draws codes of Gaussians; both are `[batch, num_bits]`."""
    assert log_variances is not None
    return means + jnp.exp(0.5 * log_variances) * jax.random.normal(key, means.shape)


def kl(mean: jax.Array, log_variance: jax.Array | None) -> jax.Array:
    """From the standard Gaussian."""
    assert log_variance is not None
    return gaussian_kl(mean, log_variance)


RECIPE = Recipe(build, FIELDS, NetworkRecipe(DOCUMENTS, NETWORK_FIELDS, variational.network))
