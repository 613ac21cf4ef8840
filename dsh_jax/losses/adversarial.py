"""Adversarial games: what the discriminator and what the generator minimise."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dsh_jax.losses import checks


class Game(NamedTuple):
    """An adversarial game.

    Attributes:
      discriminate: the adversary stream's logit (positive: real), is_real (1 or 0) -> the
        discriminator's loss, scalars.
      deceive: logit of a synthetic image -> the generator's loss, scalars.
    """

    discriminate: Callable[[jax.Array, jax.Array], jax.Array]
    deceive: Callable[[jax.Array], jax.Array]


def minimax() -> Game:
    """The game of DSH-GANs' paper (SIGIR 2017)."""
    return Game(adversarial, generator_minimax)


def non_saturating() -> Game:
    """The generator maximises log P(real): strong gradients early (Goodfellow et al. 2014)."""
    return Game(adversarial, generator_non_saturating)


def hinge() -> Game:
    """The hinge game (Lim & Ye 2017); use it with spectral normalisation."""
    return Game(adversarial_hinge, generator_hinge)


def adversarial(logit: jax.Array, is_real: jax.Array) -> jax.Array:
    """The discriminator's loss on one image: `-log P(right source)`.

    Args:
      logit: the adversary stream's output, a scalar; positive means real.
      is_real: 1 for a real image, 0 for a synthetic one, a scalar.

    Returns:
      A scalar, in nats.
    """
    checks.scalar(logit)
    checks.scalar(is_real)
    return is_real * jax.nn.softplus(-logit) + (1 - is_real) * jax.nn.softplus(logit)


def adversarial_hinge(logit: jax.Array, is_real: jax.Array) -> jax.Array:
    """Hinge form of `adversarial` (Lim & Ye 2017; use with spectral normalisation).

    Args and Returns as `adversarial`.
    """
    checks.scalar(logit)
    checks.scalar(is_real)
    return is_real * jax.nn.relu(1 - logit) + (1 - is_real) * jax.nn.relu(1 + logit)


def generator_minimax(logit: jax.Array) -> jax.Array:
    """The generator's adversarial loss in the paper's form: minus the discriminator's.

    Args:
      logit: the adversary stream's output on a synthetic image, a scalar.

    Returns:
      A scalar, in nats.
    """
    return -adversarial(logit, jnp.zeros_like(logit))


def generator_non_saturating(logit: jax.Array) -> jax.Array:
    """`-log P(real)` of a synthetic image (Goodfellow et al. 2014): strong gradients early.

    Args and Returns as `generator_minimax`.
    """
    return adversarial(logit, jnp.ones_like(logit))


def generator_hinge(logit: jax.Array) -> jax.Array:
    """The generator's side of `adversarial_hinge`: `-logit`. A scalar in, a scalar out."""
    checks.scalar(logit)
    return -logit


def r1_penalty(discriminate: Callable[[jax.Array], jax.Array], images: jax.Array) -> jax.Array:
    """Half the mean squared norm of the logit's gradient at real images.

    R1 of Mescheder, Geiger and Nowozin: "Which training methods for GANs do actually converge?",
    ICML 2018, without its weight.

    Args:
      discriminate: images -> logits `[n]`, each of its own image. With batch normalisation, where
        a logit depends on all images, the gradient is that of their sum.
      images: real ones in [-1, 1], `[n, height, width, channels]`.

    Returns:
      A scalar.
    """
    gradient = jax.grad(lambda x: discriminate(x).sum())(images)
    return jnp.sum(jnp.square(gradient.astype(jnp.float32))) / (2 * len(images))
