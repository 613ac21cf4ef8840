"""The stages of DSH-GANs: which steps are taken, in which order and on which images."""

from collections.abc import Callable
from dataclasses import dataclass

import jax

from dsh_jax.data.images.augment import to_float
from dsh_jax.devices import Batch
from dsh_jax.methods.base import Metrics, State, advance, augmented
from dsh_jax.methods.consistency import Consistency
from dsh_jax.methods.dsh_gan_steps import DISCRIMINATOR, GENERATOR, HASH, Steps
from dsh_jax.methods.kinds import IMAGES, Kind
from dsh_jax.methods.players import ENCODER


@dataclass(frozen=True)
class DshGan:
    """The steps of each stage on raw batches.

    Attributes:
      steps: the discriminator, hash and generator step.
      augment: keys `[batch]`, images -> images of the same shape and range.
      consistency: makes pseudo-labeled strong views for the hash step; None is no such images.
      discriminate_every: the discriminator step sees every n-th of the batch's unlabeled images.
      ema_decay: decay per step of the averages of generator and hash network; 0 is off.
      kind: of the items.
      to_float: from items of a raw batch to what networks take.
    """

    steps: Steps
    augment: Callable[[jax.Array, jax.Array], jax.Array]
    consistency: Consistency | None
    discriminate_every: int
    ema_decay: float
    kind: Kind = IMAGES
    to_float: Callable[[jax.Array], jax.Array] = to_float

    def init(self, key: jax.Array) -> State:
        """The state before the first step."""
        averaged = (*ENCODER, "generator") if self.ema_decay else ()
        owners = {"discriminator": DISCRIMINATOR, "hash": HASH, "generator": GENERATOR}
        state = self.steps.players.init(key, self.steps.optimizers, owners, averaged)
        return self.consistency.init(state) if self.consistency else state

    def pretraining_step(
        self, state: State, batch: Batch, key: jax.Array
    ) -> tuple[State, Metrics]:
        """Stage 1: discriminator and generator step."""
        key = jax.random.fold_in(key, state.step)
        labeled, triplets = self._drawn(state, batch, key)
        state, metrics = self.steps.discriminator_step(state, labeled, key)
        state, generator = self.steps.generator_step(state, triplets, key, with_triplets=False)
        return advance(state, self.ema_decay), metrics | generator

    def joint_step(self, state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
        """Stage 2: discriminator, hash and generator step on triplets."""
        key = jax.random.fold_in(key, state.step)
        synthetic = self.steps.triplets == "synthetic"
        labeled, triplets = self._drawn(state, batch, key)
        state, triplets = self._with_strong_views(state, batch, triplets, key)
        state, metrics = self.steps.discriminator_step(state, labeled, key)
        state, hashing = self.steps.hash_step(state, triplets, key)
        state, generator = self.steps.generator_step(
            state, triplets, key, with_triplets=synthetic
        )
        return advance(state, self.ema_decay), metrics | hashing | generator

    def supervised_step(
        self, state: State, batch: Batch, key: jax.Array
    ) -> tuple[State, Metrics]:
        """The network alone: only the hash step, on labeled images."""
        key = jax.random.fold_in(key, state.step)
        state, metrics = self.steps.hash_step(state, self._augmented(batch, key), key)
        return advance(state, self.ema_decay), metrics

    def network_step(self, state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
        """The network alone, with strong views of unlabeled images."""
        key = jax.random.fold_in(key, state.step)
        labeled = self._augmented(batch, key)
        state, labeled = self._with_strong_views(state, batch, labeled, key)
        state, metrics = self.steps.hash_step(state, labeled, key)
        return advance(state, self.ema_decay), metrics

    def _augmented(self, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        return augmented(self.augment, self.kind.as_images(batch), key, self.to_float)

    def _drawn(
        self, state: State, batch: Batch, key: jax.Array
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """The augmented batch with synthetic images: for the discriminator, and for the others."""
        every = slice(None, None, self.discriminate_every)
        seen = {name: x[every] if name.startswith("unlabeled_") else x
                for name, x in batch.items()}  # fmt: skip
        synthesis = self.steps.synthesis
        labeled, triplets = synthesis.batch(state, self._augmented(seen, key), key)
        if self.steps.triplets == "real":
            roles = ("positive", "negative")
            names = [f"{role}_{part}" for role in roles for part in ("image", "label")]
            triplets |= {name: labeled[name][synthesis.anchors] for name in names}
        return labeled, triplets

    def _with_strong_views(
        self, state: State, raw: Batch, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[State, dict[str, jax.Array]]:
        """The hash step's batch with pseudo-labeled strong views, if there is consistency."""
        if self.consistency is None:
            return state, batch
        raw = self.kind.as_images(raw)
        state, views = self.consistency.pseudo_labeled(self.steps.players, state, raw, key)
        return state, batch | views
