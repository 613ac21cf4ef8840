"""The losses of deep semantic hashing, as pure functions of one sample.

Each takes one sample and returns one number, unreduced; lift it over a batch with `jax.vmap` and
average where it is used. A config names a loss either by its name here (`"triplet_ranking"`) or as
`"module:function"`, so a loss of your own needs no edit in this package.

DSH-GANs: Qiu, Pan, Yao, Mei: "Deep Semantic Hashing with Generative Adversarial Networks",
SIGIR 2017, arXiv 1804.08275.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dsh_jax.errors import UserError
from dsh_jax.hamming import relaxed_distance

Loss = Callable[..., jax.Array]


def triplet_ranking(
    anchor: jax.Array, positive: jax.Array, negative: jax.Array, *, margin: float = 1.0
) -> jax.Array:
    """Triplet ranking loss of relaxed codes: `max(0, m - |h - h-|^2 + |h - h+|^2)`.

    On binary codes the squared L2 distance is the Hamming distance, so the margin is in bits.

    Args:
      anchor: code of a real image, in [0, 1], `[num_bits]`.
      positive: code of an image with the same labels, `[num_bits]`.
      negative: code of an image that shares no label, `[num_bits]`.
      margin: by how many bits the negative must be farther away than the positive (paper: 1).

    Returns:
      A scalar, 0 where the margin is kept.
    """
    difference = relaxed_distance(anchor, positive) - relaxed_distance(anchor, negative)
    return jnp.maximum(0.0, margin + difference)


def softmax_classification(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Cross-entropy of a softmax with one class, for single-label data.

    Args:
      logits: `[classes]`.
      label: one-hot, `[classes]`.

    Returns:
      A scalar, in nats.
    """
    _check_same(logits, label)
    return -jnp.sum(label * jax.nn.log_softmax(logits))


def sigmoid_classification(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Sum over the classes of sigmoid cross-entropies, for multi-label data.

    Args:
      logits: `[classes]`.
      label: multi-hot, `[classes]`; all zeros says that the image has no label.

    Returns:
      A scalar, in nats.
    """
    _check_same(logits, label)
    return jnp.sum(label * jax.nn.softplus(-logits) + (1 - label) * jax.nn.softplus(logits))


def softmax_no_class(logits: jax.Array) -> jax.Array:
    """Cross-entropy of an unlabeled image with the class target "zero vector".

    The paper gives unlabeled images the zero vector as target: predict no class. A softmax cannot
    say so, hence (our choice) "none" is one more class whose logit is fixed at 0, and this is its
    negative log-probability.

    Args:
      logits: `[classes]`.

    Returns:
      A scalar, in nats.
    """
    if jnp.ndim(logits) != 1:
        raise ValueError(f"logits {jnp.shape(logits)} must be [classes]; use jax.vmap over a batch")
    return jax.nn.logsumexp(jnp.append(logits, 0.0))


def sigmoid_no_class(logits: jax.Array) -> jax.Array:
    """`sigmoid_classification` against the zero vector: `[classes]` -> scalar, in nats."""
    return sigmoid_classification(logits, jnp.zeros_like(logits))


def adversarial(logit: jax.Array, is_real: jax.Array) -> jax.Array:
    """The discriminator's loss on one image: `-log P(right source)`.

    Args:
      logit: the adversary stream's output, a scalar; positive means real.
      is_real: 1 for a real image, 0 for a synthetic one, a scalar.

    Returns:
      A scalar, in nats.
    """
    _check_scalar(logit)
    _check_scalar(is_real)
    return is_real * jax.nn.softplus(-logit) + (1 - is_real) * jax.nn.softplus(logit)


def adversarial_hinge(logit: jax.Array, is_real: jax.Array) -> jax.Array:
    """Hinge form of `adversarial` (Lim & Ye 2017; use with spectral normalisation).

    Args and Returns as `adversarial`.
    """
    _check_scalar(logit)
    _check_scalar(is_real)
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
    _check_scalar(logit)
    return -logit


def code_cross_entropy(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Logistic cross-entropy of code outputs against a target code, for CNNH.

    The target's bits are `(target + 1) / 2`. The paper does not state its loss clearly; this is
    ours.

    Args:
      logits: `[num_bits]`; their sigmoid is the relaxed code.
      target: -1 or 1, `[num_bits]`.

    Returns:
      A scalar, the mean over the bits, in nats.
    """
    _check_same(logits, target)
    return jnp.mean(jax.nn.softplus(-target * logits))


def quantization(code: jax.Array) -> jax.Array:
    """How far a relaxed code is from binary: `sum (|2h - 1| - 1)^2` (after DSH, CVPR 2016).

    Args:
      code: relaxed code in [0, 1], `[num_bits]`.

    Returns:
      A scalar: 0 for a binary code, `num_bits` where every output is 1/2.
    """
    if jnp.ndim(code) != 1:
        raise ValueError(f"code {jnp.shape(code)} must be [num_bits]; use jax.vmap over a batch")
    return jnp.sum((jnp.abs(2 * code - 1) - 1) ** 2)


ADVERSARIAL: Mapping[str, tuple[Loss, Loss]] = {
    "minimax": (adversarial, generator_minimax),
    "non_saturating": (adversarial, generator_non_saturating),
    "hinge": (adversarial_hinge, generator_hinge),
}
"""The discriminator's and the generator's loss of each adversarial game."""


def find(name: str, options: Mapping[str, Any]) -> Loss:
    """The loss that a config names, with its options bound.

    Args:
      name: a function of this module, or `"module:function"` for one of your own.
      options: keyword arguments, e.g. `{"margin": 1.0}`.

    Raises:
      UserError: no such module or function, or an option that the function does not take.
    """
    module_name, _, function_name = name.rpartition(":")
    try:
        module = importlib.import_module(module_name or __name__)
        loss = getattr(module, function_name)
        if not inspect.isfunction(loss):
            raise TypeError(f"{function_name!r} is no function")
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"no loss {name!r} ({error}); name a function of dsh_jax.losses or 'module:function'."
        ) from error
    parameters = inspect.signature(loss).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise UserError(f"the loss {name!r} has no option {option!r}; it takes {known}.")
    return partial(loss, **options)


def _check_same(logits: jax.Array, label: jax.Array) -> None:
    # A silent broadcast of [batch, 1] against [batch] is the classic bug of such losses.
    if logits.ndim != 1 or logits.shape != label.shape:
        raise ValueError(
            f"logits {logits.shape} and label {label.shape} must both be [classes]; "
            "lift the loss over a batch with jax.vmap"
        )


def _check_scalar(logit: jax.Array) -> None:
    if jnp.ndim(logit):
        raise ValueError(f"logit {jnp.shape(logit)} must be a scalar; use jax.vmap over a batch")
