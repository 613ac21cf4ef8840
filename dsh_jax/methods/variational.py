"""Hashing by a variational auto-encoder of documents: what VDSH and NASH share.

A document's words are encoded into the distribution of a code, and a code drawn from it decodes the
words. VDSH and NASH differ in the distribution, which is a `Latent`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from dsh_jax.data.batches import BatchSpec
from dsh_jax.data.signature import Signature
from dsh_jax.devices import AXIS, Batch
from dsh_jax.fields import Choice, Integer, Number, Rules, Switch
from dsh_jax.losses import Loss, slots
from dsh_jax.methods import optimizers
from dsh_jax.methods.base import (
    Method,
    Metrics,
    Network,
    Params,
    Stage,
    State,
    Variables,
    advance,
    update,
)
from dsh_jax.methods.frequencies import with_frequencies
from dsh_jax.methods.players import Players
from dsh_jax.methods.word_players import with_untagged, word_players
from dsh_jax.networks.variational import CodeStream, LogVariance, WordFeatures
from dsh_jax.networks.words import TagDecoder, TopicDecoder
from dsh_jax.rng import named_key

NETWORK_FIELDS: Rules = {
    "num_bits": Integer(1, 65536),
    "encoder.hidden": Integer(1, 65536),
    "encoder.layers": Integer(1, 16),
    "encoder.dropout": Number(least=0, below=1),
    "encoder.word_dropout": Number(least=0, below=1),
    "codes.thresholds": Choice(("median", "middle")),
    "codes.sharpness": Number(least=0),
}
FIELDS: Rules = {
    "supervised": Switch(),
    "loss.word_weights": Choice(("count", "presence", "tfidf")),
    "loss.kl_weight": Number(least=0),
    "loss.kl_steps": Integer(0, 10**9),
    "loss.tag_weight": Number(least=0),
    "batch_size": Integer(1, 2**20),
    "unlabeled_batch_size": Integer(0, 2**20),
    "num_steps": Integer(1, 10**9),
    "ema_decay": Number(least=0, below=1),
    **slots.fields_of("words", "classification"),
    **optimizers.fields_of("network"),
}
ENCODER = ("features", "codes")
"""The players that encode documents."""


@dataclass(frozen=True)
class Latent:
    """The distribution of codes.

    Attributes:
      num_variances: log-variances that it needs, for each document.
      sample: key, means `[batch, num_bits]`, log-variances `[batch, num_variances]`, or None where
        there are none -> codes to decode `[batch, num_bits]`.
      kl: means `[num_bits]`, log-variances `[num_variances]` or None -> the divergence of one
        document's code from the prior.
      first_log_variance: at the beginning of training.
    """

    num_variances: int
    sample: Callable[[jax.Array, jax.Array, jax.Array | None], jax.Array]
    kl: Callable[[jax.Array, jax.Array | None], jax.Array]
    first_log_variance: float = 0.0


@dataclass(frozen=True)
class Variational:
    """The networks and their step.

    Attributes:
      players: "features", "codes", "words" and, where they are used, "variances" and "tags".
      latent: the distribution of codes.
      losses: of "words" and, if supervised, of "tags".
      word_weights: what a word counts in the loss of words, "count", "presence" or "tfidf".
      kl_weight: of the divergence, after `kl_steps` steps; it rises linearly from 0.
      kl_steps: see `kl_weight`; 0 for the full weight from the start.
      tag_weight: of the loss of tags.
      tx: the optimizer.
      ema_decay: decay per step of the encoder's average; 0 is off.
    """

    players: Players
    latent: Latent
    losses: dict[str, Loss]
    word_weights: str
    kl_weight: float
    kl_steps: int
    tag_weight: float
    tx: optax.GradientTransformation
    ema_decay: float

    def init(self, key: jax.Array) -> State:
        """The state before the first step."""
        owners = {"network": tuple(self.players.networks)}
        averaged = ENCODER if self.ema_decay else ()
        return self.players.init(key, {"network": self.tx}, owners, averaged)

    def step(self, state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
        """One update on documents with their tags, and on documents without.

        Args:
          state: the state before.
          batch: `word`, `tfidf`, `count` `[batch, width]` and `label` `[batch, tags]`; for untagged
            documents the same except `label`, as `unlabeled_...`.
          key: the run's key.
        """
        key = jax.random.fold_in(key, state.step)
        drawn = jax.random.fold_in(named_key(key, "codes"), jax.lax.axis_index(AXIS))
        tags = batch["label"]
        batch = with_untagged(batch)
        kl_weight = self.kl_weight * jnp.minimum(1.0, (state.step + 1) / max(self.kl_steps, 1))

        def loss_fn(params: dict[str, Params]) -> tuple[jax.Array, tuple[Metrics, dict]]:
            features, _ = self.players.represent(
                state, params["features"], batch["word"], batch["tfidf"],
                key=named_key(key, "dropout"),
            )  # fmt: skip
            means, stats = self.players.apply(state, "codes", params["codes"], features)
            variances = None
            if "variances" in params:
                variances, _ = self.players.apply(
                    state, "variances", params["variances"], features
                )
            codes = self.latent.sample(drawn, means, variances)
            words, _ = self.players.apply(state, "words", params["words"], codes)
            each = jax.vmap(self.losses["words"])(words, batch["word"], self._weights(batch))
            terms = {"words": each.mean(), "kl": jax.vmap(self.latent.kl)(means, variances).mean()}
            loss = terms["words"] + kl_weight * terms["kl"]
            if "tags" in params:
                logits, _ = self.players.apply(state, "tags", params["tags"], codes[: len(tags)])
                terms["tags"] = jax.vmap(self.losses["tags"])(logits, tags).mean()
                loss += self.tag_weight * terms["tags"]
            return loss, (terms, stats)

        state, metrics = update(state, "network", tuple(state.params), self.tx, loss_fn)
        return advance(state, self.ema_decay), metrics

    def _weights(self, batch: Batch) -> jax.Array:
        if self.word_weights == "presence":
            return jnp.minimum(batch["count"], 1.0)
        return batch[self.word_weights]


def build(config: ConfigDict, signature: Signature, latent: Latent, codes: str) -> Method:
    """A method as a config describes it.

    Args:
      config: of an experiment, with its fields checked.
      signature: of the data.
      latent: the distribution of codes.
      codes: what the codes are called.

    Raises:
      UserError: a loss is invalid.
    """
    classes = signature.num_classes
    networks = {**encoder(config, signature), "words": TopicDecoder(signature.num_words)}
    losses = {"words": slots.from_config(config, "words", words=signature.num_words, width=32)}
    if latent.num_variances:
        networks["variances"] = LogVariance(latent.num_variances, latent.first_log_variance)
    if config.supervised:
        networks["tags"] = TagDecoder(classes, 0)
        losses["tags"] = slots.classification(config, signature.labels, classes=classes)
    of_code = ((config.num_bits,),)
    model = Variational(
        players=word_players(networks, "features", {"words": of_code, "tags": of_code}),
        latent=latent,
        losses=losses,
        word_weights=config.loss.word_weights,
        kl_weight=float(config.loss.kl_weight),
        kl_steps=config.loss.kl_steps,
        tag_weight=float(config.loss.tag_weight),
        tx=optimizers.build_optimizer(config, "network", config.num_steps),
        ema_decay=config.ema_decay,
    )
    batch = BatchSpec(config.batch_size, config.unlabeled_batch_size, False, config.seed)
    return Method(
        codes=f"{codes}_supervised" if config.supervised else codes,
        network=network(config, signature),
        init=model.init,
        prepare=partial(with_frequencies, config.loss.word_weights),
        learning_rates=optimizers.learning_rates(config, {"network": config.num_steps}),
        stages=(Stage("network", config.num_steps, model.step, batch),),
        shared={
            "batch_size": config.batch_size,
            "unlabeled_batch_size": config.unlabeled_batch_size,
        },
    )


def encoder(config: ConfigDict, signature: Signature) -> dict[str, nn.Module]:
    """The players of `ENCODER`."""
    settings = config.encoder
    return {
        "features": WordFeatures(
            signature.num_words, settings.hidden, settings.layers, settings.dropout,
            settings.word_dropout,
        ),
        "codes": CodeStream(
            config.num_bits, config.codes.thresholds == "median", float(config.codes.sharpness),
            AXIS,
        ),
    }  # fmt: skip


def network(config: ConfigDict, signature: Signature) -> Network:
    """What makes codes of `word` and `tfidf`, `[batch, width]`."""
    players = word_players(encoder(config, signature), "features")

    def encode(kept: Variables, inputs: Batch) -> jax.Array:
        features = players.evaluate(kept, "features", inputs["word"], inputs["tfidf"])
        return nn.sigmoid(players.evaluate(kept, "codes", features))

    return Network(init=players.init_variables, encode=encode)
