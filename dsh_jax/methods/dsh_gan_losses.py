"""The losses of DSH-GANs' steps, as a config names them."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from dsh_jax import fields, losses
from dsh_jax.data.signature import Signature
from dsh_jax.losses import Game, Loss, slots
from dsh_jax.methods.base import Metrics


@dataclass(frozen=True)
class Losses:
    """The losses of the three steps; see `dsh_jax.losses.images` for their shapes.

    Attributes:
      triplet: (anchor, positive, negative) codes -> loss.
      classify: (logits, label) -> loss.
      quantize: code -> loss.
      pair: (code logits of two items, whether they are similar) -> loss, or None to leave it out.
      batch: (code logits, labels of the batch) -> loss, or None to leave it out.
      no_class: logits of an unlabeled image -> loss, or None to leave it out.
      game: losses of discriminator and generator.
      weights: weight of each term: triplet, pair, batch, adversarial, classification,
        quantization.
      synthetic_class_weight: weight of a synthetic image relative to a real one in the
        classification loss of the discriminator and the hash step.
    """

    triplet: Loss
    classify: Loss
    quantize: Loss
    pair: Loss | None
    batch: Loss | None
    no_class: Loss | None
    game: Game
    weights: dict[str, float]
    synthetic_class_weight: float

    def weigh(self, **terms: jax.Array) -> tuple[jax.Array, Metrics]:
        """The weighted sum of the terms, and the terms themselves as metrics."""
        return jnp.asarray(sum(self.weights[k] * v for k, v in terms.items())), terms


def build_losses(config: ConfigDict, signature: Signature) -> Losses:
    """The losses that the config names, each tested on the shapes of its inputs."""
    synthetic = config.triplets == "synthetic"
    sizes = {
        "num_bits": config.num_bits,
        "classes": signature.num_classes,
        # What the hash step sees: anchors, positives and negatives.
        "batch": 3 * config.batch_size // (config.anchor_every if synthetic else 1),
    }
    no_class = losses.softmax_no_class if signature.labels == "single" else losses.sigmoid_no_class
    pair, batch = (
        slots.from_config(config, slot, **sizes) if config.loss[slot] else None
        for slot in ("pair", "batch")
    )
    return Losses(
        triplet=slots.from_config(config, "triplet", **sizes),
        classify=slots.classification(config, signature.labels, **sizes),
        quantize=slots.from_config(config, "quantization", **sizes),
        pair=pair,
        batch=batch,
        no_class=no_class if config.loss.unlabeled == "zero" else None,
        game=slots.game(config),
        weights=fields.floats(config.loss.weights),
        synthetic_class_weight=float(config.loss.synthetic_class_weight),
    )


def weighted_mean(values: jax.Array, weights: Sequence[float] | np.ndarray) -> jax.Array:
    """Mean of `values` `[n]`, weighted by `weights` `[n]`."""
    return jnp.average(values, weights=jnp.asarray(weights, values.dtype))
