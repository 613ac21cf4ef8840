"""The discriminator, hash and generator step of DSH-GANs, as pure functions of state and batch.

Qiu, Pan, Yao, Mei: "Deep Semantic Hashing with Generative Adversarial Networks", SIGIR 2017,
arXiv 1804.08275.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dsh_jax.devices import Batch
from dsh_jax.losses.adversarial import r1_penalty
from dsh_jax.losses.mining import of_drawn
from dsh_jax.losses.pairs import mean_over_pairs, of_batch
from dsh_jax.methods.base import (
    Metrics,
    Params,
    State,
    advance,
    augmented,
    update,
)
from dsh_jax.methods.consistency import Consistency
from dsh_jax.methods.dsh_gan_losses import Losses, weighted_mean
from dsh_jax.methods.dsh_gan_synthesis import Synthesis
from dsh_jax.methods.players import ENCODER, Players
from dsh_jax.rng import named_key

DISCRIMINATOR = ("representation", "adversary", "classification")
HASH = ("representation", "hash", "classification")
GENERATOR = ("generator",)


TRIPLETS = ("synthetic", "real", "none")
"""Where positives and negatives come from."""


@dataclass(frozen=True)
class DshGan:
    """The players, their losses and optimizers, and the three steps over them.

    Attributes:
      players: representation, hash and classification stream; with a GAN also generator and
        adversary stream.
      losses: the losses of the steps.
      optimizers: "discriminator", "hash", "generator" -> optimizer.
      augment: keys `[batch]`, images -> images of the same shape and range.
      triplets: one of `TRIPLETS`.
      synthesis: draws synthetic images; used with a GAN only.
      consistency: makes pseudo-labeled strong views for the hash step; None is no such images.
      discriminate_every: the discriminator step sees every n-th of the batch's unlabeled images.
      ema_decay: decay per step of the averages of generator and hash network; 0 is off.
    """

    players: Players
    losses: Losses
    optimizers: dict[str, optax.GradientTransformation]
    augment: Callable[[jax.Array, jax.Array], jax.Array]
    triplets: str
    synthesis: Synthesis
    consistency: Consistency | None
    discriminate_every: int
    ema_decay: float

    def init(self, key: jax.Array) -> State:
        """The state before the first step."""
        averaged = (*ENCODER, "generator") if self.ema_decay else ()
        owners = {"discriminator": DISCRIMINATOR, "hash": HASH, "generator": GENERATOR}
        state = self.players.init(key, self.optimizers, owners, averaged)
        return self.consistency.init(state) if self.consistency else state

    def discriminator_step(
        self, state: State, batch: Batch, key: jax.Array
    ) -> tuple[State, Metrics]:
        """Updates representation, adversary and classification stream.

        Args:
          state: the state before.
          batch: `image`, `label`: real labeled images in [-1, 1]; `unlabeled_image`: real
            unlabeled ones (may be absent); `synthetic_image`, `synthetic_label`.
          key: this step's key.
        """
        unlabeled = batch.get("unlabeled_image", batch["image"][:0])
        unlabeled = unlabeled[:: self.discriminate_every]
        real = jnp.concatenate([batch["image"], unlabeled])
        num_labeled, num_real = len(batch["image"]), len(real)
        is_real = jnp.arange(num_real + len(batch["synthetic_image"])) < num_real
        # The class of an unlabeled image is not known to the adversary stream.
        no_class = jnp.zeros((len(unlabeled), batch["label"].shape[1]))
        known = jnp.concatenate([batch["label"], no_class, batch["synthetic_label"]])

        def source(params: dict[str, Params], images: jax.Array) -> jax.Array:
            features, _ = self.players.represent(
                state, params["representation"], images, key=named_key(key, "r1 dropout")
            )
            return self.players.apply(
                state, "adversary", params["adversary"], features, known[:num_real]
            )[0]

        def loss_fn(params: dict[str, Params]) -> Any:
            parts, stats = self.players.represent_apart(
                state, params["representation"],
                [(real, True), (batch["synthetic_image"], False)],
                key=named_key(key, "discriminator dropout"),
            )
            features = jnp.concatenate(parts)
            sources, source_stats = self.players.apply(
                state, "adversary", params["adversary"], features, known
            )
            logits, _ = self.players.apply(
                state, "classification", params["classification"], features
            )
            source_losses = jax.vmap(self.losses.game.discriminate)(
                sources, is_real.astype(jnp.float32)
            )
            # Real and synthetic images have equal weight, whatever their numbers.
            adversarial = (source_losses[:num_real].mean() + source_losses[num_real:].mean()) / 2
            classify = jax.vmap(self.losses.classify)
            class_losses = [
                classify(logits[:num_labeled], batch["label"]).mean(),
                classify(logits[num_real:], batch["synthetic_label"]).mean(),
            ]
            classification = weighted_mean(
                jnp.stack(class_losses), [1.0, self.losses.synthetic_class_weight]
            )
            if self.losses.unlabeled_is_no_class and len(unlabeled):
                # Added, so that the labeled images keep their weight.
                classification += classify(logits[num_labeled:num_real], no_class).mean()
            terms = {"adversarial": adversarial, "classification": classification}
            if self.losses.weights["r1"]:
                terms["r1"] = r1_penalty(partial(source, params), real)
            loss, metrics = self.losses.weigh(**terms)
            metrics["labeled_classification"] = class_losses[0]
            metrics["real_accuracy"] = jnp.mean(sources[:num_real] > 0)
            metrics["synthetic_accuracy"] = jnp.mean(sources[num_real:] < 0)
            return loss, (metrics, stats | source_stats)

        tx = self.optimizers["discriminator"]
        return update(state, "discriminator", DISCRIMINATOR, tx, loss_fn)

    def hash_step(
        self, state: State, batch: Batch, key: jax.Array, *, synthetic: bool
    ) -> tuple[State, Metrics]:
        """Updates hash stream, representation and classification stream on triplets.

        Args:
          state: the state before.
          batch: `image`, `label`; unless there are no triplets `positive_image`, `negative_image`
            with `positive_label`, `negative_label`: images in [-1, 1]; optionally `strong_image`,
            `strong_label`, `confident` as `Consistency` gives them.
          key: this step's key.
          synthetic: whether positives and negatives are synthetic.
        """
        roles = ("",) if self.triplets == "none" else ("", "positive_", "negative_")
        parts = [(batch[f"{role}image"], not (role and synthetic)) for role in roles]
        labels = jnp.concatenate([batch[f"{role}label"] for role in roles])
        if "strong_image" in batch:
            parts.append((batch["strong_image"], True))
        others_weight = self.losses.synthetic_class_weight if synthetic else 1.0
        num_anchors = len(batch["image"])
        class_weights = np.where(np.arange(len(labels)) < num_anchors, 1.0, others_weight)

        def loss_fn(params: dict[str, Params]) -> Any:
            of_parts, stats = self.players.represent_apart(
                state, params["representation"], parts, key=named_key(key, "hash dropout")
            )
            features = jnp.concatenate(of_parts)
            every_code, hash_stats = self.players.apply(state, "hash", params["hash"], features)
            every_logits, _ = self.players.apply(
                state, "classification", params["classification"], features
            )
            code_logits, logits = every_code[: len(labels)], every_logits[: len(labels)]
            codes = nn.sigmoid(code_logits)
            classify = jax.vmap(self.losses.classify)
            terms = {
                "classification": weighted_mean(
                    classify(logits, labels), class_weights
                ),
                "quantization": jax.vmap(self.losses.quantize)(codes).mean(),
            }
            metrics = {}
            if self.triplets != "none":
                triplets = self.losses.triplets(codes, labels, num_anchors)
                terms["triplet"] = triplets.mean()
                metrics["active_triplets"] = jnp.mean(triplets > 0)
            if self.losses.pair is not None:
                terms["pair"] = mean_over_pairs(self.losses.pair, code_logits, labels)
            if self.losses.batch is not None:
                terms["batch"] = of_batch(self.losses.batch, code_logits, labels)
            center = self.losses.to_centers
            if center is not None:
                terms["center"] = center(code_logits, labels).mean()
            if "strong_image" in batch:
                confident, pseudo = batch["confident"], batch["strong_label"]
                consistency = classify(every_logits[len(labels) :], pseudo)
                if center is not None:
                    weight = self.losses.weights["center"]
                    consistency += weight * center(every_code[len(labels) :], pseudo)
                terms["consistency"] = jnp.mean(confident * consistency)
                metrics["confident"] = confident.mean()
            loss, weighed = self.losses.weigh(**terms)
            return loss, (metrics | weighed, stats | hash_stats)

        return update(state, "hash", HASH, self.optimizers["hash"], loss_fn)

    def generator_step(
        self, state: State, batch: Batch, key: jax.Array, *, with_triplets: bool
    ) -> tuple[State, Metrics]:
        """Updates the generator against the current streams.

        Args:
          state: the state before.
          batch: `image` in [-1, 1], `synthetic_position`, `synthetic_label`; with triplets the
            first of the synthetic images are the anchors' positives, the others their negatives.
          key: this step's key; the same noise is drawn as for the other steps' images.
          with_triplets: whether the triplet loss is part of the generator's (stage 2).
        """

        def loss_fn(params: dict[str, Params]) -> Any:
            images, stats = self.synthesis.images(
                state, params["generator"], batch["synthetic_position"],
                batch["synthetic_label"], key,
            )
            anchors = [(batch["image"], True)] if with_triplets else []
            features, _ = self.players.represent_apart(
                state, state.params["representation"], [(images, False), *anchors],
                key=named_key(key, "generator dropout"),
            )
            synthetic = features[0]
            sources, _ = self.players.apply(
                state, "adversary", state.params["adversary"], synthetic,
                batch["synthetic_label"],
            )
            logits, _ = self.players.apply(
                state, "classification", state.params["classification"], synthetic
            )
            classify = jax.vmap(self.losses.classify)
            terms = {
                "adversarial": jax.vmap(self.losses.game.deceive)(sources).mean(),
                "classification": classify(logits, batch["synthetic_label"]).mean(),
            }
            if with_triplets:
                code_logits, _ = self.players.apply(
                    state, "hash", state.params["hash"], jnp.concatenate(features)
                )
                synthetic_codes, anchor = jnp.split(nn.sigmoid(code_logits), [len(images)])
                triplets = jnp.concatenate([anchor, synthetic_codes])
                terms["triplet"] = of_drawn(self.losses.triplet, triplets, len(anchor)).mean()
            loss, metrics = self.losses.weigh(**terms)
            return loss, (metrics, stats)

        return update(state, "generator", GENERATOR, self.optimizers["generator"], loss_fn)

    def _drawn(
        self, state: State, batch: Batch, key: jax.Array
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """The augmented batch with synthetic images: for the discriminator, and for the others."""
        augmented_batch = augmented(self.augment, batch, key)
        labeled, triplets = self.synthesis.batch(state, augmented_batch, key)
        if self.triplets == "real":
            roles = ("positive", "negative")
            names = [f"{role}_{part}" for role in roles for part in ("image", "label")]
            triplets |= {name: labeled[name][self.synthesis.anchors] for name in names}
        return labeled, triplets

    def _with_strong_views(
        self, state: State, raw: Batch, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[State, dict[str, jax.Array]]:
        """The hash step's batch with pseudo-labeled strong views, if there is consistency."""
        if self.consistency is None:
            return state, batch
        state, views = self.consistency.pseudo_labeled(self.players, state, raw, key)
        return state, batch | views

    def pretraining_step(
        self, state: State, batch: Batch, key: jax.Array
    ) -> tuple[State, Metrics]:
        """Stage 1: discriminator and generator step."""
        key = jax.random.fold_in(key, state.step)
        labeled, triplets = self._drawn(state, batch, key)
        state, metrics = self.discriminator_step(state, labeled, key)
        state, generator = self.generator_step(state, triplets, key, with_triplets=False)
        return advance(state, self.ema_decay), metrics | generator

    def joint_step(self, state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
        """Stage 2: discriminator, hash and generator step on triplets."""
        key = jax.random.fold_in(key, state.step)
        synthetic = self.triplets == "synthetic"
        labeled, triplets = self._drawn(state, batch, key)
        state, triplets = self._with_strong_views(state, batch, triplets, key)
        state, metrics = self.discriminator_step(state, labeled, key)
        state, hashing = self.hash_step(state, triplets, key, synthetic=synthetic)
        state, generator = self.generator_step(state, triplets, key, with_triplets=synthetic)
        return advance(state, self.ema_decay), metrics | hashing | generator

    def supervised_step(
        self, state: State, batch: Batch, key: jax.Array
    ) -> tuple[State, Metrics]:
        """The network alone: only the hash step, on labeled images."""
        key = jax.random.fold_in(key, state.step)
        state, metrics = self.hash_step(
            state, augmented(self.augment, batch, key), key, synthetic=False
        )
        return advance(state, self.ema_decay), metrics

    def network_step(self, state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
        """The network alone, with strong views of unlabeled images."""
        key = jax.random.fold_in(key, state.step)
        labeled = augmented(self.augment, batch, key)
        state, labeled = self._with_strong_views(state, batch, labeled, key)
        state, metrics = self.hash_step(state, labeled, key, synthetic=False)
        return advance(state, self.ema_decay), metrics
