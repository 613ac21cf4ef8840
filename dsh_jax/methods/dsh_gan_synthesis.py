"""How DSH-GANs draw synthetic images, and the labels of negatives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from dsh_jax.devices import AXIS, Batch
from dsh_jax.methods.base import Params, State
from dsh_jax.methods.negatives import disjoint_label, other_label
from dsh_jax.methods.players import Players
from dsh_jax.rng import named_key, sample_keys

_MOST_IMAGES = 2**20  # in a batch


@dataclass(frozen=True)
class Synthesis:
    """The generator, and what it is asked for.

    Attributes:
      players: with a generator.
      augment: keys `[batch]`, images -> images of the same shape and range.
      augment_synthetic: whether synthetic images are augmented too, with gradients through it (Zhao
        et al.: "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020).
        Otherwise the generator learns to generate augmented images.
      anchor_every: every n-th labeled image is an anchor; the discriminator step uses all of them.
      multi_label: whether an image may have several labels; a negative then has the labels of
        another image of the batch.
      z_dim: length of the generator's noise.
      negatives: how many are drawn for each anchor.
    """

    players: Players
    augment: Callable[[jax.Array, jax.Array], jax.Array]
    augment_synthetic: bool
    anchor_every: int
    multi_label: bool
    z_dim: int
    negatives: int = 1

    @property
    def anchors(self) -> slice:
        """Which labeled images of a batch are anchors."""
        return slice(None, None, self.anchor_every)

    def images(
        self, state: State, params: Params, position: jax.Array, label: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Images for the given labels in training mode, and the generator's new statistics."""
        draw = jax.vmap(lambda k: jax.random.normal(k, (self.z_dim,)))
        z = draw(sample_keys(named_key(key, "noise"), position))
        images, stats = self.players.apply(state, "generator", params, z, label)
        if self.augment_synthetic:
            keys = sample_keys(named_key(key, "synthetic augmentation"), position)
            images = self.augment(keys, images)
        return images, stats

    def batch(
        self, state: State, batch: Batch, key: jax.Array
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """Draws a positive and the negatives for every anchor.

        Args:
          state: the state before.
          batch: labeled images, augmented.
          key: this step's key.

        Returns:
          The batch with all labeled images, for the discriminator step; and with only the anchors
          and their triplets.
        """
        position, label = batch["position"][self.anchors], batch["label"][self.anchors]
        turns = range(self.negatives)
        keys = [jax.random.fold_in(key, turn) if turn else key for turn in turns]
        other = jnp.concatenate([self.negative_labels(batch, key) for key in keys])
        # Negatives get positions that no anchor has, and so different noise.
        places = [position, *(-1 - position - turn * _MOST_IMAGES for turn in turns)]
        drawn = {
            "synthetic_position": jnp.concatenate(places),
            "synthetic_label": jnp.concatenate([label, other]),
        }
        images, _ = self.images(
            state, state.params["generator"], drawn["synthetic_position"],
            drawn["synthetic_label"], key,
        )
        labeled = dict(batch) | drawn | {"synthetic_image": images}
        positive, negative = jnp.split(images, [len(label)])
        triplets = labeled | {
            "image": batch["image"][self.anchors],
            "label": label,
            "positive_image": positive,
            "positive_label": label,
            "negative_image": negative,
            "negative_label": other,
        }
        return labeled, triplets

    def negative_labels(self, batch: Batch, key: jax.Array) -> jax.Array:
        """Class vectors `[anchors, classes]` that share no label with the anchors'."""
        label = batch["label"][self.anchors]
        keys = sample_keys(named_key(key, "other label"), batch["position"][self.anchors])
        if not self.multi_label:
            return jax.vmap(other_label)(keys, label)
        # From the whole batch, so that the result does not depend on the number of devices.
        occurring = jax.lax.all_gather(batch["label"], AXIS, tiled=True)
        return jax.vmap(disjoint_label, (0, 0, None))(keys, label, occurring)
