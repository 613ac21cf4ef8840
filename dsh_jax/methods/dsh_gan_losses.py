"""The losses of DSH-GANs' steps, as a config names them."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax.data.signature import Signature
from dsh_jax.losses import Game, Loss, slots
from dsh_jax.losses.mining import of_drawn, of_hardest
from dsh_jax.methods.base import Metrics
from dsh_jax.methods.cnnh_codes import learn_class_codes

MINING = ("none", "batch")
"""Which triplets the hash step takes: as they were drawn, or the hardest of the batch."""


@dataclass(frozen=True)
class Losses:
    """The losses of the three steps; `dsh_jax.losses.slots.SLOTS` has their shapes.

    Attributes:
      triplet: (anchor, positive, negative) codes -> loss.
      classify: (logits, label) -> loss.
      quantize: code -> loss.
      pair: (code logits of two items, whether they are similar) -> loss, or None to leave it out.
      batch: (code logits, labels of the batch) -> loss, or None to leave it out.
      center: (code logits, label, centers) -> loss, or None to leave it out.
      centers: a code of -1 and 1 per class, float `[classes, num_bits]`; None without `center`.
      unlabeled_is_no_class: whether the discriminator learns that unlabeled images have no class:
        their label is then all zeros.
      game: losses of discriminator and generator.
      weights: weight of each term: triplet, pair, batch, center, adversarial, classification,
        quantization, consistency, r1.
      mining: one of `MINING`.
      synthetic_class_weight: weight of a synthetic image relative to a real one in the
        classification loss of the discriminator and the hash step.
    """

    triplet: Loss
    classify: Loss
    quantize: Loss
    pair: Loss | None
    batch: Loss | None
    center: Loss | None
    centers: np.ndarray | None
    unlabeled_is_no_class: bool
    game: Game
    weights: dict[str, float]
    mining: str
    synthetic_class_weight: float

    def to_centers(self, code_logits: jax.Array, labels: jax.Array) -> jax.Array:
        """The center losses `[n]` of `[n, num_bits]` and `[n, classes]`; `center` must be set."""
        assert self.center is not None
        of_all = jax.vmap(self.center, (0, 0, None))
        return of_all(code_logits, labels, jnp.asarray(self.centers))

    def of_views(self, logits: jax.Array, code_logits: jax.Array, labels: jax.Array) -> jax.Array:
        """Losses `[n]` of strong views against their pseudo-labels: class and, if set, center.

        Args:
          logits: of the classes, `[n, classes]`.
          code_logits: `[n, num_bits]`.
          labels: one-hot, `[n, classes]`.
        """
        losses = jax.vmap(self.classify)(logits, labels)
        if self.center is not None:
            losses += self.weights["center"] * self.to_centers(code_logits, labels)
        return losses

    def triplets(self, codes: jax.Array, labels: jax.Array, num_anchors: int) -> jax.Array:
        """Losses of the hash step's triplets; the codes are ordered as for `mining.of_drawn`."""
        if self.mining == "batch":
            return of_hardest(self.triplet, codes, labels, num_anchors)
        return of_drawn(self.triplet, codes, num_anchors)

    def weigh(self, **terms: jax.Array) -> tuple[jax.Array, Metrics]:
        """The weighted sum of the terms, and the terms themselves as metrics."""
        return jnp.asarray(sum(self.weights[k] * v for k, v in terms.items())), terms


def build_losses(config: ConfigDict, signature: Signature) -> Losses:
    """The losses that the config names, each tested on the shapes of its inputs."""
    images = config.batch_size // (config.anchor_every if config.gan else 1)
    sizes = {
        "num_bits": config.num_bits,
        "classes": signature.num_classes,
        # What the hash step sees: anchors, and their positives and negatives if there are any.
        "batch": images * (1 if config.triplets == "none" else 2 + config.negatives_per_anchor),
    }
    pair, batch, center = (
        slots.from_config(config, slot, **sizes) if config.loss[slot] else None
        for slot in ("pair", "batch", "center")
    )
    # The zero vector as label is the paper's.
    zero = config.gan and config.loss.unlabeled == "zero"
    return Losses(
        triplet=slots.from_config(config, "triplet", **sizes),
        classify=slots.classification(config, signature.labels, none=zero, **sizes),
        quantize=slots.from_config(config, "quantization", **sizes),
        pair=pair,
        batch=batch,
        center=center,
        centers=class_centers(signature.num_classes, config.num_bits) if center else None,
        unlabeled_is_no_class=zero,
        game=slots.game(config),
        weights=fields.floats(config.loss.weights),
        mining=config.loss.mining,
        synthetic_class_weight=float(config.loss.synthetic_class_weight),
    )


def class_centers(num_classes: int, num_bits: int) -> np.ndarray:
    """Codes of -1 and 1 for the classes, as far apart as stage 1 of CNNH gets them, float32."""
    ones = np.ones(num_classes, np.int64)
    codes = learn_class_codes(ones, num_bits=num_bits, seed=0).codes
    return codes.astype(np.float32)


def weighted_mean(values: jax.Array, weights: Sequence[float] | np.ndarray) -> jax.Array:
    """Mean of `values` `[n]`, weighted by `weights` `[n]`."""
    return jnp.average(values, weights=jnp.asarray(weights, values.dtype))
