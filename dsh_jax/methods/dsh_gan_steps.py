"""The discriminator, hash and generator step of DSH-GANs, as pure functions of state and batch.

Qiu, Pan, Yao, Mei: "Deep Semantic Hashing with Generative Adversarial Networks", SIGIR 2017,
arXiv 1804.08275.
"""

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
from dsh_jax.methods.base import Metrics, Params, State, update
from dsh_jax.methods.dsh_gan_losses import Losses, weighted_mean
from dsh_jax.methods.dsh_gan_synthesis import Synthesis
from dsh_jax.methods.players import Players
from dsh_jax.rng import named_key

DISCRIMINATOR = ("representation", "adversary", "classification")
HASH = ("representation", "hash", "classification")
GENERATOR = ("generator",)

TRIPLETS = ("synthetic", "real", "none")
"""Where positives and negatives come from."""


@dataclass(frozen=True)
class Steps:
    """The players, their losses and optimizers, and the three steps over them.

    Attributes:
      players: representation, hash and classification stream; with a GAN also generator and
        adversary stream.
      losses: the losses of the steps.
      optimizers: "discriminator", "hash", "generator" -> optimizer.
      triplets: one of `TRIPLETS`.
      synthesis: draws synthetic images; used with a GAN only.
    """

    players: Players
    losses: Losses
    optimizers: dict[str, optax.GradientTransformation]
    triplets: str
    synthesis: Synthesis

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
            features, stats = self.players.represent_apart(
                state, params["representation"],
                [(real, True), (batch["synthetic_image"], False)],
                key=named_key(key, "discriminator dropout"),
            )
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

    def hash_step(self, state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
        """Updates hash stream, representation and classification stream on triplets.

        Args:
          state: the state before.
          batch: `image`, `label`; unless there are no triplets `positive_image`, `negative_image`
            with `positive_label`, `negative_label`: images in [-1, 1]; optionally `strong_image`,
            `strong_label`, `confident` as `Consistency` gives them.
          key: this step's key.
        """
        synthetic = self.triplets == "synthetic"
        roles = ("",) if self.triplets == "none" else ("", "positive_", "negative_")
        parts = [(batch[f"{role}image"], not (role and synthetic)) for role in roles]
        labels = jnp.concatenate([batch[f"{role}label"] for role in roles])
        if "strong_image" in batch:
            parts.append((batch["strong_image"], True))
        others_weight = self.losses.synthetic_class_weight if synthetic else 1.0
        num_anchors = len(batch["image"])
        class_weights = np.where(np.arange(len(labels)) < num_anchors, 1.0, others_weight)

        def loss_fn(params: dict[str, Params]) -> Any:
            features, stats = self.players.represent_apart(
                state, params["representation"], parts, key=named_key(key, "hash dropout")
            )
            every_code, hash_stats = self.players.apply(state, "hash", params["hash"], features)
            every_logits, _ = self.players.apply(
                state, "classification", params["classification"], features
            )
            code_logits, strong_codes = jnp.split(every_code, [len(labels)])
            logits, strong_logits = jnp.split(every_logits, [len(labels)])
            codes = nn.sigmoid(code_logits)
            terms, metrics = {}, {}
            if self.triplets != "none":
                triplets = self.losses.triplets(codes, labels, num_anchors)
                terms["triplet"] = triplets.mean()
                metrics["active_triplets"] = jnp.mean(triplets > 0)
            terms["classification"] = weighted_mean(
                jax.vmap(self.losses.classify)(logits, labels), class_weights[: len(labels)]
            )
            terms["quantization"] = jax.vmap(self.losses.quantize)(codes).mean()
            if self.losses.pair is not None:
                terms["pair"] = mean_over_pairs(self.losses.pair, code_logits, labels)
            if self.losses.batch is not None:
                terms["batch"] = of_batch(self.losses.batch, code_logits, labels)
            if self.losses.center is not None:
                terms["center"] = self.losses.to_centers(code_logits, labels).mean()
            if "strong_image" in batch:
                of_views = self.losses.of_views(strong_logits, strong_codes, batch["strong_label"])
                terms["consistency"] = jnp.mean(batch["confident"] * of_views)
                metrics["confident"] = batch["confident"].mean()
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
            synthetic = features[: len(images)]
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
                code_logits, _ = self.players.apply(state, "hash", state.params["hash"], features)
                synthetic_codes, anchor = jnp.split(nn.sigmoid(code_logits), [len(images)])
                triplets = jnp.concatenate([anchor, synthetic_codes])
                terms["triplet"] = of_drawn(self.losses.triplet, triplets, len(anchor)).mean()
            loss, metrics = self.losses.weigh(**terms)
            return loss, (metrics, stats)

        return update(state, "generator", GENERATOR, self.optimizers["generator"], loss_fn)
