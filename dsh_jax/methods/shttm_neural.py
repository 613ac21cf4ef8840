"""Neural SHTTM: SHTTM learned by gradient descent, with four optional improvements.

The reviewers of SHTTM (Wang, Zhang & Si, SIGIR 2013) asked for them: non-linear factorisation, hash
function and binarisation; a learned tagging uncertainty; correlated tags; and a jointly learned
topic model. Their design is ours. With all of them off, this is SHTTM's objective with a logistic
link, and the hash function is learned with the codes instead of afterwards.

A jointly learned topic model makes the loss an evidence lower bound, up to its weights:

    tags - word_weight sum_w n_w log softmax(R b + b0)_w / N + kl_weight KL(q(b | x) || Bern(1/2))

for a document with n_w times word w, a code b that is 1 with the probability q = sigmoid(logit),
log-frequencies b0 of words, and N words a document in the mean. `shttm_content` says what stands
for words and topics where documents are vectors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax.data.batches import BatchSpec
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.signature import Signature, VectorInputs
from dsh_jax.devices import AXIS, Batch
from dsh_jax.errors import UserError
from dsh_jax.fields import Integer, Number, Rules, Switch
from dsh_jax.losses import Loss, slots
from dsh_jax.losses.documents import code_divergence, missed, to_bits
from dsh_jax.methods import optimizers, tag_correlation
from dsh_jax.methods.base import (
    Method,
    Metrics,
    Network,
    NetworkRecipe,
    Params,
    Recipe,
    Stage,
    State,
    advance,
    update,
)
from dsh_jax.methods.frequencies import with_tag_odds
from dsh_jax.methods.players import Players
from dsh_jax.methods.shttm_content import OF_VECTORS, Content, content_of
from dsh_jax.methods.word_players import DOCUMENTS, TOPIC_FIELDS, with_untagged
from dsh_jax.networks.words import TagDecoder, TagExposure, TagShares
from dsh_jax.rng import named_key

NETWORK_FIELDS: Rules = {
    "num_bits": Integer(1, 65536),
    "improvements.nonlinear_encoder": Switch(),
    "encoder.hidden": Integer(1, 65536),
    "encoder.dropout": Number(least=0, below=1),
    "encoder.word_dropout": Number(least=0, below=1),
    "encoder.sharpness": Number(above=0),
}
FIELDS: Rules = {
    "improvements.nonlinear_decoder": Switch(),
    "improvements.binary_codes": Switch(),
    "improvements.learned_uncertainty": Switch(),
    "improvements.correlated_tags": Switch(),
    "improvements.joint_topics": Switch(),
    "decoder.hidden": Integer(1, 65536),
    "loss.present": Number(above=0),
    "loss.missing": Number(above=0),
    "loss.topic_weight": Number(least=0),
    "loss.word_weight": Number(least=0),
    "loss.kl_weight": Number(least=0),
    "exposure.alpha": Number(least=1),
    "exposure.beta": Number(least=1),
    "correlation.weight": Number(least=0, most=1),
    "correlation.smoothing": Number(above=0),
    "batch_size": Integer(1, 2**20),
    "unlabeled_batch_size": Integer(0, 2**20),
    "num_steps": Integer(1, 10**9),
    "ema_decay": Number(least=0, below=1),
    **slots.fields_of("tags", "words", "topics"),
    **optimizers.fields_of("network"),
    **TOPIC_FIELDS,
}

_MEMORY = 0.99
"""What running sums of exposure keep at a step: they hold about the last hundred batches."""


@dataclass(frozen=True)
class NeuralShttm:
    """The networks and their step.

    Attributes:
      players: "encoder", "tags" and, if switched on, "words" or "vectors" (topics learned jointly),
        "exposure" (each tag's probability of being given where it applies) and "shares" (how likely
        a tag is beside another one).
      content: what documents are, words or vectors.
      binary: whether codes are bits in training too, rather than relaxed.
      present, missing: SHTTM's confidences a and b.
      soft_weight: of what is likely of missing tags; see `tag_correlation`.
      smoothing: of that.
      losses: of "tags" and "topics", and of "words" or "vectors".
      weights: of the other terms: "topics", the distance from fixed topics; or "words" or
        "vectors", and "kl".
      tx: the optimizer.
      ema_decay: decay per step of the encoder's average; 0 is off.
    """

    players: Players
    content: Content
    binary: bool
    present: float
    missing: float
    soft_weight: float
    smoothing: float
    losses: Mapping[str, Loss]
    weights: Mapping[str, float]
    tx: optax.GradientTransformation
    ema_decay: float

    def init(self, key: jax.Array) -> State:
        """The state before the first step."""
        owners = {"network": tuple(self.players.networks)}
        averaged = ("encoder",) if self.ema_decay else ()
        return self.players.init(key, {"network": self.tx}, owners, averaged)

    def prepare(self, state: State, dataset: Dataset, ids: np.ndarray) -> State:
        """Sets what training documents tell: frequencies of words and tags, and pairs of tags."""
        stats = dict(state.batch_stats)
        if self.content.name in stats:
            stats[self.content.name] = self.content.statistics(dataset, ids)
        if "shares" in stats:
            shares = tag_correlation.shares(dataset.multi_hot(ids), smoothing=self.smoothing)
            stats["shares"] = {"shares": jnp.asarray(shares)}
        state = replace(state, batch_stats=stats)
        return with_tag_odds(state, dataset, ids, self.missing / self.present)

    def step(self, state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
        """One update on documents with their tags, and on documents without.

        Args:
          state: the state before.
          batch: `word`, `tfidf`, `count`, or `vector` `[batch, width]`, `label` `[batch, tags]`
            and, for fixed topics, `target` `[batch, num_bits]`; for untagged documents the same
            except `label`, as `unlabeled_...`.
          key: the run's key.
        """
        key = named_key(jax.random.fold_in(key, state.step), "dropout")
        batch, content = with_untagged(batch), self.content

        def loss_fn(params: dict[str, Params]) -> tuple[jax.Array, tuple[Metrics, dict]]:
            logits, stats = self.players.represent(
                state, params["encoder"], *content.inputs(batch), key=key
            )
            codes = to_bits(logits) if self.binary else logits
            terms, exposure = self._tag_loss(state, params, codes, batch["label"])
            if (name := content.name) in params:
                decoded, _ = self.players.apply(state, name, params[name], codes)
                of_data = state.batch_stats[name]
                terms[name] = content.misfit(self.losses[name], decoded, batch, of_data)
                terms["kl"] = jax.vmap(code_divergence)(logits).mean()
            else:
                each = jax.vmap(self.losses["topics"])(codes, batch["target"])
                terms["topics"] = each.mean()
            weights = {"tags": 1.0, **self.weights}
            loss = jnp.asarray(sum(weights[name] * term for name, term in terms.items()))
            return loss, (terms, stats | exposure)

        players = tuple(state.params)
        state, metrics = update(state, "network", players, self.tx, loss_fn)
        return advance(state, self.ema_decay), metrics

    def _tag_loss(
        self, state: State, params: dict[str, Params], codes: jax.Array, tags: jax.Array
    ) -> tuple[Metrics, dict[str, Any]]:
        """The loss of tags as "tags", and new statistics of exposure."""
        logits, _ = self.players.apply(state, "tags", params["tags"], codes)
        confidence = jnp.where(tags > 0, self.present, self.missing)
        recall, stats, targets = jnp.ones(tags.shape[1]), {}, tags
        if "shares" in params:
            shares, _ = self.players.apply(state, "shares", params["shares"], codes)
            targets = tag_correlation.soft_targets(tags, shares, weight=self.soft_weight)
        if "exposure" in params:
            recall, _ = self.players.apply(state, "exposure", params["exposure"], codes)
            not_given = jax.lax.stop_gradient(jax.vmap(missed, (0, 0, None))(logits, tags, recall))
            new = jax.lax.psum({"given": tags.sum(0), "missed": not_given.sum(0)}, AXIS)
            kept = jax.tree.map(lambda old: _MEMORY * old, state.batch_stats["exposure"])
            stats = {"exposure": jax.tree.map(jnp.add, kept, new)}
        each = jax.vmap(self.losses["tags"], in_axes=(0, 0, 0, None))(
            logits, targets, confidence, recall
        )
        return {"tags": each.mean()}, stats


def build(config: ConfigDict, signature: Signature) -> Method:
    """Neural SHTTM as a config describes it.

    Args:
      config: of an experiment, with its fields checked.
      signature: of the data.

    Raises:
      UserError: fields that contradict each other, or a loss that is invalid.
    """
    switches, settings = config.improvements, config.loss
    if not settings.missing < settings.present:
        raise UserError(
            f"loss.missing is {settings.missing}; set it below loss.present, {settings.present}."
        )
    content, num_tags = content_of(signature), signature.num_classes
    content.check(config)
    networks: dict[str, nn.Module] = {
        "encoder": content.encoder(config),
        "tags": TagDecoder(num_tags, config.decoder.hidden if switches.nonlinear_decoder else 0),
    }
    if switches.joint_topics:
        networks[content.name] = content.decoder()
        weights = {content.name: settings[content.weight], "kl": settings.kl_weight}
    else:
        weights = {"topics": settings.topic_weight}
    if switches.learned_uncertainty:
        networks["exposure"] = TagExposure(num_tags, **fields.floats(config.exposure))
    if switches.correlated_tags:
        networks["shares"] = TagShares(num_tags)
    sizes = {"num_bits": config.num_bits, "classes": num_tags, **content.sizes}
    neural = NeuralShttm(
        players=Players(networks, "encoder", content.sample, {}),
        content=content,
        binary=switches.binary_codes,
        present=float(settings.present),
        missing=float(settings.missing),
        soft_weight=float(config.correlation.weight),
        smoothing=float(config.correlation.smoothing),
        losses={
            slot: slots.from_config(config, slot, **sizes)
            for slot in ("tags", content.name, "topics")
        },
        weights=fields.floats(weights),
        tx=optimizers.build_optimizer(config, "network", config.num_steps),
        ema_decay=config.ema_decay,
    )
    batch = BatchSpec(config.batch_size, config.unlabeled_batch_size, False, config.seed)
    fixed_topics = partial(standardised_topics, config, content)
    return Method(
        codes="shttm_neural",
        network=network(config, signature),
        init=neural.init,
        prepare=neural.prepare,
        learning_rates=optimizers.learning_rates(config, {"network": config.num_steps}),
        stages=(Stage("network", config.num_steps, neural.step, batch),),
        learn_targets=None if switches.joint_topics else fixed_topics,
        shared={
            "batch_size": config.batch_size,
            "unlabeled_batch_size": config.unlabeled_batch_size,
        },
    )


def network(config: ConfigDict, signature: Signature) -> Network:
    """The network that makes codes."""
    content = content_of(signature)
    players = Players({"encoder": content.encoder(config)}, "encoder", content.sample, {})
    return Network(
        init=players.init_variables,
        encode=lambda kept, inputs: nn.sigmoid(
            players.evaluate(kept, "encoder", *content.inputs(inputs))
        ),
    )


def standardised_topics(
    config: ConfigDict, content: Content, dataset: Dataset, ids: np.ndarray
) -> tuple[np.ndarray, str]:
    """Topics of some documents, each with mean 0 and variance 1: float32 `[n, num_bits]`.

    Raises:
      UserError: the documents support fewer topics than bits.
    """
    topics = content.topics(config, dataset, ids)
    return standardised(topics), f"{topics.shape[1]} {content.topics_name}"


def standardised(topics: np.ndarray) -> np.ndarray:
    """Topics with mean 0 and variance 1 over the documents, `[n, topics]` -> float32."""
    deviation = np.maximum(topics.std(axis=0), 1e-6)
    return ((topics - topics.mean(axis=0)) / deviation).astype(np.float32)


RECIPE = Recipe(
    build,
    FIELDS,
    NetworkRecipe(
        (*DOCUMENTS, VectorInputs.kind), NETWORK_FIELDS, network,
        renamed={"improvements.nonlinear": "improvements.nonlinear_encoder"},
    ),
    optional=OF_VECTORS,
)  # fmt: skip
