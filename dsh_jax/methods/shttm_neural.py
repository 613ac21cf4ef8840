"""Neural SHTTM: SHTTM learned by gradient descent, with four optional improvements.

The reviewers of SHTTM (Wang, Zhang & Si, SIGIR 2013) asked for them: non-linear factorisation, hash
function and binarisation; a learned tagging uncertainty; correlated tags; and a jointly learned
topic model. Their design is ours. With all of them off, this is SHTTM's objective with a logistic
link, and the hash function is learned with the codes instead of afterwards.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from dsh_jax.data.batches import BatchSpec
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.signature import Signature
from dsh_jax.devices import AXIS, Batch
from dsh_jax.errors import UserError
from dsh_jax.fields import Integer, Number, Rules, Switch
from dsh_jax.losses import Loss, slots
from dsh_jax.losses.documents import tag_confidence, tag_similarity, to_bits
from dsh_jax.methods import optimizers
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
from dsh_jax.methods.players import Players
from dsh_jax.methods.word_players import (
    DOCUMENTS,
    TOPIC_FIELDS,
    topic_model,
    with_untagged,
    word_network,
    word_players,
)
from dsh_jax.networks.words import TagDecoder, TagRecall, TopicDecoder, WordEncoder
from dsh_jax.rng import named_key

NETWORK_FIELDS: Rules = {
    "num_bits": Integer(1, 65536),
    "improvements.nonlinear": Switch(),
    "encoder.hidden": Integer(1, 65536),
    "encoder.dropout": Number(least=0, below=1),
    "encoder.word_dropout": Number(least=0, below=1),
    "encoder.sharpness": Number(above=0),
}
FIELDS: Rules = {
    "improvements.learned_uncertainty": Switch(),
    "improvements.correlated_tags": Switch(),
    "improvements.joint_topics": Switch(),
    "decoder.hidden": Integer(1, 65536),
    "loss.present": Number(above=0),
    "loss.missing": Number(above=0),
    "loss.topic_weight": Number(least=0),
    "loss.word_weight": Number(least=0),
    "batch_size": Integer(1, 2**20),
    "unlabeled_batch_size": Integer(0, 2**20),
    "num_steps": Integer(1, 10**9),
    "ema_decay": Number(least=0, below=1),
    **slots.fields_of("tags", "words", "topics"),
    **optimizers.fields_of("network"),
    **TOPIC_FIELDS,
}


@dataclass(frozen=True)
class NeuralShttm:
    """The networks and their step.

    Attributes:
      players: "encoder", "tags" and, if switched on, "words" (topics learned jointly)
        and "recall" (each tag's probability of being given where it applies).
      binary: whether codes are bits in training too, rather than relaxed.
      correlated_tags: whether a missing tag counts less if a similar one is present.
      present, missing: SHTTM's confidences a and b.
      losses: of "tags", and of "words" or "topics".
      topic_weight: gamma, the weight of the distance from fixed topics, or of the word loss.
      tx: the optimizer.
      ema_decay: decay per step of the encoder's average; 0 is off.
    """

    players: Players
    binary: bool
    correlated_tags: bool
    present: float
    missing: float
    losses: dict[str, Loss]
    topic_weight: float
    tx: optax.GradientTransformation
    ema_decay: float

    def init(self, key: jax.Array) -> State:
        """The state before the first step."""
        owners = {"network": tuple(self.players.networks)}
        averaged = ("encoder",) if self.ema_decay else ()
        return self.players.init(key, {"network": self.tx}, owners, averaged)

    def step(self, state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
        """One update on documents with their tags, and on documents without.

        Args:
          state: the state before.
          batch: `word`, `tfidf`, `count` `[batch, width]`, `label` `[batch, tags]` and, for fixed
            topics, `target` `[batch, num_bits]`; for untagged documents the same except
            `label`, as `unlabeled_...`.
          key: the run's key.
        """
        key = named_key(jax.random.fold_in(key, state.step), "dropout")
        batch = with_untagged(batch)

        def loss_fn(params: dict[str, Params]) -> tuple[jax.Array, tuple[Metrics, dict]]:
            logits, stats = self.players.represent(
                state, params["encoder"], batch["word"], batch["tfidf"], key=key
            )
            codes = to_bits(logits) if self.binary else logits
            terms = {"tags": self._tag_loss(state, params, codes, batch["label"])}
            if "words" in params:
                words, _ = self.players.apply(state, "words", params["words"], codes)
                each = jax.vmap(self.losses["words"])(words, batch["word"], batch["count"])
                terms["words"] = each.mean()
            else:
                each = jax.vmap(self.losses["topics"])(codes, batch["target"])
                terms["topics"] = each.mean()
            weights = {"tags": 1.0, "words": self.topic_weight, "topics": self.topic_weight}
            loss = jnp.asarray(sum(weights[name] * term for name, term in terms.items()))
            return loss, (terms, stats)

        players = tuple(state.params)
        state, metrics = update(state, "network", players, self.tx, loss_fn)
        return advance(state, self.ema_decay), metrics

    def _tag_loss(
        self, state: State, params: dict[str, Params], codes: jax.Array, tags: jax.Array
    ) -> jax.Array:
        logits, _ = self.players.apply(state, "tags", params["tags"], codes)
        num_tags = tags.shape[1]
        similarity = jnp.zeros((num_tags, num_tags))
        if self.correlated_tags:
            # Similar factors lower confidences; lower confidences must not make factors similar.
            factors = jax.lax.stop_gradient(params["tags"]["factors"]["kernel"])
            similarity = tag_similarity(factors) * (1 - jnp.eye(num_tags))
        confidence = partial(tag_confidence, present=self.present, missing=self.missing)
        recall = jnp.ones(num_tags)
        if "recall" in params:
            recall, _ = self.players.apply(state, "recall", params["recall"], codes)
        # One document at a time: [documents, tags, tags] would be large.
        confidences = jax.lax.map(lambda row: confidence(row, similarity), tags)
        each = jax.vmap(self.losses["tags"], in_axes=(0, 0, 0, None))(
            logits, tags, confidences, recall
        )
        return each.mean()


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
    num_tags = signature.num_classes
    networks: dict[str, nn.Module] = {
        "encoder": word_encoder(config, signature),
        "tags": TagDecoder(num_tags, config.decoder.hidden if switches.nonlinear else 0),
    }
    if switches.joint_topics:
        networks["words"] = TopicDecoder(signature.num_words)
    if switches.learned_uncertainty:
        networks["recall"] = TagRecall(num_tags)
    sizes = {"num_bits": config.num_bits, "classes": num_tags, "words": signature.num_words,
             "width": 32}  # fmt: skip
    neural = NeuralShttm(
        players=word_players(networks, "encoder"),
        binary=switches.nonlinear,
        correlated_tags=switches.correlated_tags,
        present=float(settings.present),
        missing=float(settings.missing),
        losses={
            slot: slots.from_config(config, slot, **sizes) for slot in ("tags", "words", "topics")
        },
        topic_weight=float(
            settings.word_weight if switches.joint_topics else settings.topic_weight
        ),
        tx=optimizers.build_optimizer(config, "network", config.num_steps),
        ema_decay=config.ema_decay,
    )
    batch = BatchSpec(config.batch_size, config.unlabeled_batch_size, False, config.seed)
    return Method(
        codes="shttm_neural",
        network=network(config, signature),
        init=neural.init,
        learning_rates=optimizers.learning_rates(config, {"network": config.num_steps}),
        stages=(Stage("network", config.num_steps, neural.step, batch),),
        learn_targets=None if switches.joint_topics else partial(standardised_topics, config),
        shared={
            "batch_size": config.batch_size,
            "unlabeled_batch_size": config.unlabeled_batch_size,
        },
    )


def word_encoder(config: ConfigDict, signature: Signature) -> WordEncoder:
    """The network from words to code logits."""
    return WordEncoder(
        signature.num_words,
        config.num_bits,
        config.encoder.hidden if config.improvements.nonlinear else 0,
        config.encoder.dropout,
        config.encoder.word_dropout,
        float(config.encoder.sharpness),
        AXIS,
    )


def network(config: ConfigDict, signature: Signature) -> Network:
    """The network that makes codes."""
    return word_network(word_encoder(config, signature), "encoder")


def standardised_topics(
    config: ConfigDict, dataset: Dataset, ids: np.ndarray
) -> tuple[np.ndarray, str]:
    """Topics of some documents, each with mean 0 and variance 1: float32 `[n, num_bits]`.

    Raises:
      UserError: the documents support fewer topics than bits.
    """
    topics = topic_model(config, dataset, ids)(ids)
    deviation = np.maximum(topics.std(axis=0), 1e-6)
    standardised = (topics - topics.mean(axis=0)) / deviation
    return standardised.astype(np.float32), f"{topics.shape[1]} topics by LDA"


RECIPE = Recipe(build, FIELDS, NetworkRecipe(DOCUMENTS, NETWORK_FIELDS, network))
