"""The discriminator, hash and generator step of DSH-GANs, as pure functions of state and batch.

Qiu, Pan, Yao, Mei: "Deep Semantic Hashing with Generative Adversarial Networks", SIGIR 2017,
arXiv 1804.08275.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dsh_jax.devices import AXIS, Batch
from dsh_jax.losses.pairs import mean_over_pairs, of_batch
from dsh_jax.methods.base import (
    Metrics,
    Params,
    State,
    advance,
    augmented,
    kept_variables,
    update,
)
from dsh_jax.methods.dsh_gan_losses import Losses, weighted_mean
from dsh_jax.methods.negatives import disjoint_label, other_label
from dsh_jax.methods.players import ENCODER, Players
from dsh_jax.rng import named_key, sample_keys

DISCRIMINATOR = ("representation", "adversary", "classification")
HASH = ("representation", "hash", "classification")
GENERATOR = ("generator",)


@dataclass(frozen=True)
class DshGan:
    """The players, their losses and optimizers, and the three steps over them.

    Attributes:
      players: representation, hash and classification stream; except in the control, also
        generator and adversary stream.
      losses: the losses of the steps.
      optimizers: "discriminator", "hash", "generator" -> optimizer.
      augment: keys `[batch]`, images -> images of the same shape and range.
      augment_synthetic: whether synthetic images are augmented too, with gradients through it (Zhao
        et al.: "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020).
        Otherwise the generator learns to generate augmented images.
      anchor_every: every n-th labeled image is an anchor; the discriminator step uses all of them.
      multi_label: whether an image may have several labels; a negative then has the labels of
        another image of the batch.
      z_dim: length of the generator's noise.
      ema_decay: decay per step of the averages of generator and hash network; 0 is off.
    """

    players: Players
    losses: Losses
    optimizers: dict[str, optax.GradientTransformation]
    augment: Callable[[jax.Array, jax.Array], jax.Array]
    augment_synthetic: bool
    anchor_every: int
    multi_label: bool
    z_dim: int
    ema_decay: float

    def init(self, key: jax.Array) -> State:
        """The state before the first step."""
        averaged = (*ENCODER, "generator") if self.ema_decay else ()
        owners = {"discriminator": DISCRIMINATOR, "hash": HASH, "generator": GENERATOR}
        return self.players.init(key, self.optimizers, owners, averaged)

    def synthesize(
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
        images = jnp.concatenate([batch["image"], unlabeled, batch["synthetic_image"]])
        num_labeled, num_real = len(batch["image"]), len(batch["image"]) + len(unlabeled)
        is_real = (jnp.arange(len(images)) < num_real).astype(jnp.float32)

        def loss_fn(params: dict[str, Params]) -> Any:
            features, stats = self.players.represent(
                state, params["representation"], images,
                key=named_key(key, "discriminator dropout"),
            )
            sources, source_stats = self.players.apply(
                state, "adversary", params["adversary"], features
            )
            logits, _ = self.players.apply(
                state, "classification", params["classification"], features
            )
            source_losses = jax.vmap(self.losses.game.discriminate)(sources, is_real)
            # Real and synthetic images have equal weight, whatever their numbers.
            adversarial = (source_losses[:num_real].mean() + source_losses[num_real:].mean()) / 2
            classify = jax.vmap(self.losses.classify)
            class_losses = [
                classify(logits[:num_labeled], batch["label"]).mean(),
                classify(logits[num_real:], batch["synthetic_label"]).mean(),
            ]
            class_weights = [1.0, self.losses.synthetic_class_weight]
            if self.losses.no_class is not None and len(unlabeled):
                no_class = jax.vmap(self.losses.no_class)(logits[num_labeled:num_real])
                class_losses.append(no_class.mean())
                class_weights.append(1.0)
            classification = weighted_mean(jnp.stack(class_losses), class_weights)
            loss, metrics = self.losses.weigh(
                adversarial=adversarial, classification=classification
            )
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
          batch: `image`, `label`; `positive_image`, `negative_image` with `positive_label`,
            `negative_label`: images in [-1, 1].
          key: this step's key.
          synthetic: whether positives and negatives are synthetic.
        """
        roles = ("", "positive_", "negative_")
        images = jnp.concatenate([batch[f"{role}image"] for role in roles])
        labels = jnp.concatenate([batch[f"{role}label"] for role in roles])
        others_weight = self.losses.synthetic_class_weight if synthetic else 1.0
        class_weights = np.repeat([1.0, others_weight, others_weight], len(batch["image"]))

        def loss_fn(params: dict[str, Params]) -> Any:
            features, stats = self.players.represent(
                state, params["representation"], images, key=named_key(key, "hash dropout")
            )
            code_logits, hash_stats = self.players.apply(state, "hash", params["hash"], features)
            logits, _ = self.players.apply(
                state, "classification", params["classification"], features
            )
            codes = nn.sigmoid(code_logits)
            triplets = jax.vmap(self.losses.triplet)(*jnp.split(codes, 3))
            terms = {
                "triplet": triplets.mean(),
                "classification": weighted_mean(
                    jax.vmap(self.losses.classify)(logits, labels), class_weights
                ),
                "quantization": jax.vmap(self.losses.quantize)(codes).mean(),
            }
            if self.losses.pair is not None:
                terms["pair"] = mean_over_pairs(self.losses.pair, code_logits, labels)
            if self.losses.batch is not None:
                terms["batch"] = of_batch(self.losses.batch, code_logits, labels)
            loss, metrics = self.losses.weigh(**terms)
            metrics["active_triplets"] = jnp.mean(triplets > 0)
            return loss, (metrics, stats | hash_stats)

        return update(state, "hash", HASH, self.optimizers["hash"], loss_fn)

    def generator_step(
        self, state: State, batch: Batch, key: jax.Array, *, with_triplets: bool
    ) -> tuple[State, Metrics]:
        """Updates the generator against the current streams.

        Args:
          state: the state before.
          batch: `image` in [-1, 1], `synthetic_position`, `synthetic_label`; with triplets the
            first half of the synthetic images are the positives, the second half the negatives.
          key: this step's key; the same noise is drawn as for the other steps' images.
          with_triplets: whether the triplet loss is part of the generator's (stage 2).
        """

        def loss_fn(params: dict[str, Params]) -> Any:
            images, stats = self.synthesize(
                state, params["generator"], batch["synthetic_position"],
                batch["synthetic_label"], key,
            )
            num_synthetic = len(images)
            if with_triplets:
                images = jnp.concatenate([images, batch["image"]])
            features, _ = self.players.represent(
                state, state.params["representation"], images,
                key=named_key(key, "generator dropout"),
            )
            synthetic = features[:num_synthetic]
            sources, _ = self.players.apply(
                state, "adversary", state.params["adversary"], synthetic
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
                code_logits, _ = self.players.apply(state, "hash", state.params["hash"], features)
                positive, negative, anchor = jnp.split(nn.sigmoid(code_logits), 3)
                terms["triplet"] = jax.vmap(self.losses.triplet)(anchor, positive, negative).mean()
            loss, metrics = self.losses.weigh(**terms)
            return loss, (metrics, stats)

        return update(state, "generator", GENERATOR, self.optimizers["generator"], loss_fn)

    def _with_synthetic(
        self, state: State, batch: Batch, key: jax.Array
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """Draws a positive and a negative for every anchor.

        Returns:
          The batch with all labeled images, for the discriminator step; and with only the anchors.
        """
        batch = augmented(self.augment, batch, key)
        anchors = slice(None, None, self.anchor_every)
        position, label = batch["position"][anchors], batch["label"][anchors]
        other = self.negative_labels(batch, key)
        # Negatives get positions that no anchor has, and so different noise.
        batch["synthetic_position"] = jnp.concatenate([position, -1 - position])
        batch["synthetic_label"] = jnp.concatenate([label, other])
        batch["synthetic_image"], _ = self.synthesize(
            state, state.params["generator"], batch["synthetic_position"],
            batch["synthetic_label"], key,
        )
        positive, negative = jnp.split(batch["synthetic_image"], 2)
        triplets = batch | {
            "image": batch["image"][anchors],
            "label": label,
            "positive_image": positive,
            "positive_label": label,
            "negative_image": negative,
            "negative_label": other,
        }
        return batch, triplets

    def negative_labels(self, batch: Batch, key: jax.Array) -> jax.Array:
        """Class vectors `[anchors, classes]` that share no label with the anchors'."""
        anchors = slice(None, None, self.anchor_every)
        label = batch["label"][anchors]
        keys = sample_keys(named_key(key, "other label"), batch["position"][anchors])
        if not self.multi_label:
            return jax.vmap(other_label)(keys, label)
        # From the whole batch, so that the result does not depend on the number of devices.
        occurring = jax.lax.all_gather(batch["label"], AXIS, tiled=True)
        return jax.vmap(disjoint_label, (0, 0, None))(keys, label, occurring)

    def pretraining_step(
        self, state: State, batch: Batch, key: jax.Array
    ) -> tuple[State, Metrics]:
        """Stage 1: discriminator and generator step."""
        key = jax.random.fold_in(key, state.step)
        labeled, triplets = self._with_synthetic(state, batch, key)
        state, metrics = self.discriminator_step(state, labeled, key)
        state, generator = self.generator_step(state, triplets, key, with_triplets=False)
        return advance(state, self.ema_decay), metrics | generator

    def joint_step(self, state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
        """Stage 2: discriminator, hash and generator step on real-synthetic triplets."""
        key = jax.random.fold_in(key, state.step)
        labeled, triplets = self._with_synthetic(state, batch, key)
        state, metrics = self.discriminator_step(state, labeled, key)
        state, hashing = self.hash_step(state, triplets, key, synthetic=True)
        state, generator = self.generator_step(state, triplets, key, with_triplets=True)
        return advance(state, self.ema_decay), metrics | hashing | generator

    def control_step(self, state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
        """The control: only the hash step, on triplets of real labeled images."""
        key = jax.random.fold_in(key, state.step)
        state, metrics = self.hash_step(
            state, augmented(self.augment, batch, key), key, synthetic=False
        )
        return advance(state, self.ema_decay), metrics

    def sample(self, state: State, key: jax.Array, label: jax.Array) -> jax.Array:
        """Images in [-1, 1] for the class vectors `label` `[batch, classes]`, for display."""
        z = jax.random.normal(key, (len(label), self.z_dim))
        return self.players.evaluate(kept_variables(state), "generator", z, label)
