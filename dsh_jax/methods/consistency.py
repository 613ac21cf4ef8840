"""Consistency on unlabeled items: what a teacher sees in a weak view must hold in a strong one.

FixMatch (Sohn et al., NeurIPS 2020) with the distribution alignment of ReMixMatch (Berthelot et
al., ICLR 2020). The teacher is the average of the network's parameters (Tarvainen & Valpola: "Mean
teachers are better role models", NeurIPS 2017) where one is kept, and else the network itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from dsh_jax.data.images.augment import to_float
from dsh_jax.data.signature import Signature
from dsh_jax.devices import AXIS, Batch
from dsh_jax.errors import UserError
from dsh_jax.fields import Integer, Number, Rules, Switch
from dsh_jax.methods.base import State, kept_variables
from dsh_jax.methods.kinds import Augment, kind_of
from dsh_jax.methods.players import Players
from dsh_jax.rng import named_key, sample_keys

AUTOMATIC = -1
"""The batch size that depends on the data: three strong views for each labeled image, of all images
that training may see; none where images have several labels."""
_VIEWS = 3

_STATS = "consistency"  # in State.batch_stats
_MOMENTUM = 0.99  # of the running shares of the classes

FIELDS: Rules = {
    "consistency.batch_size": Integer(AUTOMATIC, 2**20),
    "consistency.threshold": Number(least=0, below=1),
    "consistency.alignment": Switch(),
    "loss.weights.consistency": Number(least=0),
    **{
        f"consistency.{name}": Number(least=0)
        for name in ("rotate", "shear", "scale", "shift", "colour", "grey", "negative")
    },
    "consistency.cutout": Integer(0, 2**14),
}


@dataclass(frozen=True)
class Consistency:
    """Makes strong views of unlabeled images and their pseudo-labels.

    Attributes:
      weak: keys `[batch]`, images -> images, of the teacher's views.
      strong: distorts a weak view further.
      threshold: least probability of a pseudo-label that is used.
      alignment: whether the teacher's probabilities are divided by their running mean, times that
        of the labels, so that no class takes over.
      num_classes: number of classes.
      to_float: from items of a raw batch to what networks take.
    """

    weak: Augment
    strong: Augment
    threshold: float
    alignment: bool
    num_classes: int
    to_float: Callable[[jax.Array], jax.Array] = to_float

    def init(self, state: State) -> State:
        """The state with running shares of the classes: none seen so far."""
        share = jnp.full(self.num_classes, 1 / self.num_classes)
        stats = {"predicted": share, "labeled": share}
        return replace(state, batch_stats=state.batch_stats | {_STATS: stats})

    def pseudo_labeled(
        self, players: Players, state: State, batch: Batch, key: jax.Array
    ) -> tuple[State, dict[str, jax.Array]]:
        """Strong views and pseudo-labels for a batch.

        Args:
          players: with a representation and a classification stream.
          state: the state before; its shares of the classes are updated.
          batch: `unlabeled_image` uint8 `[n, h, w, c]`, `unlabeled_position` `[n]`, and `label`
            `[m, classes]` of the labeled images.
          key: this step's key.

        Returns:
          The state after, and `strong_image` in [-1, 1] `[n, h, w, c]`, `strong_label` one-hot
          `[n, classes]` and `confident` `[n]`, 1.0 where the pseudo-label is used and else 0.0.
        """
        position = batch["unlabeled_position"]
        # The host's arrays are raw images; augmented ones are of the discriminator.
        raw = self.to_float(batch["unlabeled_image"])
        weak = self.weak(sample_keys(named_key(key, "weak view"), position), raw)
        strong = self.strong(sample_keys(named_key(key, "strong view"), position), weak)
        teacher = kept_variables(state)
        features = players.evaluate(teacher, "representation", weak)
        probabilities = jax.nn.softmax(players.evaluate(teacher, "classification", features))
        stats = state.batch_stats[_STATS]
        if self.alignment:
            seen = {"predicted": probabilities.mean(0), "labeled": batch["label"].mean(0)}
            seen = jax.lax.pmean(seen, AXIS)
            stats = jax.tree.map(lambda a, b: _MOMENTUM * a + (1 - _MOMENTUM) * b, stats, seen)
            ratio = (stats["labeled"] + 1e-6) / (stats["predicted"] + 1e-6)
            probabilities = probabilities * ratio
            probabilities /= probabilities.sum(axis=1, keepdims=True)
        label = jax.nn.one_hot(probabilities.argmax(1), self.num_classes)
        confident = (probabilities.max(1) >= self.threshold).astype(jnp.float32)
        views = {"strong_image": strong, "strong_label": label, "confident": confident}
        state = replace(state, batch_stats=state.batch_stats | {_STATS: stats})
        return state, jax.lax.stop_gradient(views)


def batch_size(config: ConfigDict, labels: str) -> int:
    """Strong views per step.

    Args:
      config: of an experiment.
      labels: "single" or "multi".
    """
    asked = int(config.consistency.batch_size)
    if asked != AUTOMATIC:
        return asked
    return _VIEWS * int(config.batch_size) if labels == "single" else 0


def from_config(config: ConfigDict, signature: Signature) -> Consistency | None:
    """The consistency that a config describes; None where its batch size is 0.

    Raises:
      UserError: the images have several labels.
    """
    settings, kind = config.consistency, kind_of(signature)
    if not batch_size(config, signature.labels):
        return None
    if signature.labels != "single":
        raise UserError(
            "consistency needs one label per image; set consistency.batch_size to 0 for images "
            "with several."
        )
    return Consistency(
        weak=kind.weak(config.augment, ("crop_padding", "flip")),
        strong=kind.strong(settings),
        threshold=float(settings.threshold),
        alignment=settings.alignment,
        num_classes=signature.num_classes,
        to_float=kind.to_float(signature),
    )
