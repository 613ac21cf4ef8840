"""Neural SHTTM: SHTTM learned by gradient descent, with four improvements that switch on and off.

The reviewers of SHTTM (Wang, Zhang & Si, SIGIR 2013) asked for them: non-linear factorisation, hash
function and binarisation; a tagging uncertainty that is learned; correlated tags; and a topic model
learned jointly. How each is built is ours. With all of them off, this is SHTTM's objective with a
logistic link, and its hash function learned with it in place of afterwards.
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
from dsh_jax.devices import AXIS, Batch
from dsh_jax.errors import UserError
from dsh_jax.losses import documents as losses
from dsh_jax.methods.base import Method, Metrics, Params, Stage, State, advance, update, variables
from dsh_jax.methods.optimizers import build_optimizer
from dsh_jax.methods.shttm import require_text, topic_model
from dsh_jax.networks.words import TagDecoder, TopicDecoder, WordEncoder
from dsh_jax.rng import named_key

_INITIAL_RECALL_LOGIT = 3.0  # a recall of 0.95


@dataclass(frozen=True)
class NeuralShttm:
    """The networks and their step.

    Attributes:
      networks: "encoder", "tags" and, where topics are learned jointly, "words".
      binary: whether codes are bits in training too, or relaxed.
      learned_uncertainty: whether each tag has a probability of being given that is learned.
      correlated_tags: whether a missing tag counts less beside a similar one.
      present, missing: SHTTM's confidences a and b.
      topic_weight: gamma, of the distance from fixed topics, or of the words.
      tx: the optimizer.
      ema_decay: per step, of the encoder's average; 0 is off.
    """

    networks: dict[str, nn.Module]
    binary: bool
    learned_uncertainty: bool
    correlated_tags: bool
    present: float
    missing: float
    topic_weight: float
    tx: optax.GradientTransformation
    ema_decay: float

    def init(self, key: jax.Array) -> State:
        """The state before the first step."""
        row = jnp.zeros((2, 1), jnp.int32)
        code, encoder = self.networks["encoder"].init_with_output(
            named_key(key, "encoder"), row, jnp.zeros(row.shape), train=False
        )
        every = {"encoder": encoder}
        for name in self.networks.keys() - {"encoder"}:
            every[name] = self.networks[name].init(named_key(key, name), code, train=False)
        params = {name: collections["params"] for name, collections in every.items()}
        if self.learned_uncertainty:
            num_tags = params["tags"]["factors"]["bias"].shape
            params["recall"] = {"logit": jnp.full(num_tags, _INITIAL_RECALL_LOGIT)}
        return State(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats={"encoder": encoder["batch_stats"]},
            opt_state={"network": self.tx.init(params)},
            ema={"encoder": dict(encoder)} if self.ema_decay else {},
        )

    def step(self, state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
        """One update on documents with their tags, and on documents without.

        Args:
          state: the state before.
          batch: `word`, `tfidf`, `count` `[batch, width]`, `label` `[batch, tags]` and, for fixed
            topics, `target` `[batch, num_bits]`; of untagged documents the same but for `label`,
            as `unlabeled_...`.
          key: the run's key.
        """
        key = named_key(jax.random.fold_in(key, state.step), "dropout")
        key = jax.random.fold_in(key, jax.lax.axis_index(AXIS))
        batch = _with_untagged(batch)

        def loss_fn(params: dict[str, Params]) -> tuple[jax.Array, tuple[Metrics, dict]]:
            logits, new = self.networks["encoder"].apply(
                {"params": params["encoder"], "batch_stats": state.batch_stats["encoder"]},
                batch["word"], batch["tfidf"], train=True,
                rngs={"dropout": key}, mutable=["batch_stats"],
            )  # fmt: skip
            codes = losses.to_bits(logits) if self.binary else logits
            terms = {"tags": self._tag_loss(params, codes, batch["label"])}
            if "words" in self.networks:
                words = self._apply("words", params, codes)
                each = jax.vmap(losses.word_loss)(words, batch["word"], batch["count"])
                terms["words"] = each.mean()
            else:
                terms["topics"] = jax.vmap(losses.topic_distance)(codes, batch["target"]).mean()
            weights = {"tags": 1.0, "words": self.topic_weight, "topics": self.topic_weight}
            loss = jnp.asarray(sum(weights[name] * term for name, term in terms.items()))
            return loss, (terms, {"encoder": new["batch_stats"]})

        players = tuple(state.params)
        state, metrics = update(state, "network", players, self.tx, loss_fn)
        return advance(state, self.ema_decay), metrics

    def _tag_loss(
        self, params: dict[str, Params], codes: jax.Array, tags: jax.Array
    ) -> jax.Array:
        logits = self._apply("tags", params, codes)
        num_tags = tags.shape[1]
        similarity = jnp.zeros((num_tags, num_tags))
        if self.correlated_tags:
            # Similar factors make confidences lower, not lower confidences factors similar.
            factors = jax.lax.stop_gradient(params["tags"]["factors"]["kernel"])
            similarity = losses.tag_similarity(factors) * (1 - jnp.eye(num_tags))
        confidence = partial(losses.tag_confidence, present=self.present, missing=self.missing)
        recall = jnp.ones(num_tags)
        if self.learned_uncertainty:
            recall = nn.sigmoid(params["recall"]["logit"])
        # A document at a time: all of them by tags by tags would be large.
        confidences = jax.lax.map(lambda row: confidence(row, similarity), tags)
        each = jax.vmap(losses.tag_loss, in_axes=(0, 0, 0, None))(
            logits, tags, confidences, recall
        )
        return each.mean()

    def encode(self, state: State, inputs: Batch) -> jax.Array:
        """Relaxed codes `[batch, num_bits]` of `word` and `tfidf`, `[batch, width]`."""
        collections = state.ema.get("encoder", variables(state, "encoder"))
        logits = self.networks["encoder"].apply(
            collections, inputs["word"], inputs["tfidf"], train=False
        )
        return nn.sigmoid(jnp.asarray(logits))

    def _apply(self, name: str, params: dict[str, Params], codes: jax.Array) -> jax.Array:
        """A decoder's output in training mode."""
        return jnp.asarray(self.networks[name].apply({"params": params[name]}, codes, train=True))


def build(config: ConfigDict, dataset: Dataset) -> Method:
    """Neural SHTTM as a config describes it.

    Args:
      config: a whole experiment's config.
      dataset: documents; only the sizes of vocabulary and tags are read here.

    Raises:
      UserError: images, or a field whose value cannot be.
    """
    dataset = require_text(config, dataset)
    switches, settings = config.improvements, config.loss
    if not 0 < settings.missing < settings.present:
        raise UserError(
            f"loss.missing is {settings.missing}; set it above 0 and below loss.present, "
            f"{settings.present}."
        )
    if config.encoder.sharpness <= 0:
        raise UserError(f"encoder.sharpness is {config.encoder.sharpness}; set it above 0.")
    num_words, num_tags = len(dataset.vocabulary.words), len(dataset.class_names)
    encoder = WordEncoder(
        num_words, config.num_bits, config.encoder.hidden if switches.nonlinear else 0,
        config.encoder.dropout, config.encoder.word_dropout, config.encoder.sharpness, AXIS,
    )  # fmt: skip
    networks: dict[str, nn.Module] = {
        "encoder": encoder,
        "tags": TagDecoder(num_tags, config.decoder.hidden if switches.nonlinear else 0),
    }
    if switches.joint_topics:
        networks["words"] = TopicDecoder(num_words)
    neural = NeuralShttm(
        networks=networks,
        binary=switches.nonlinear,
        learned_uncertainty=switches.learned_uncertainty,
        correlated_tags=switches.correlated_tags,
        present=settings.present,
        missing=settings.missing,
        topic_weight=settings.word_weight if switches.joint_topics else settings.topic_weight,
        tx=build_optimizer(config, "network", config.num_steps),
        ema_decay=config.ema_decay,
    )
    batch = BatchSpec(config.batch_size, config.unlabeled_batch_size, False, config.seed)
    return Method(
        codes="shttm_neural",
        stages=(Stage("network", config.num_steps, neural.step, batch),),
        init=neural.init,
        encode=neural.encode,
        classify=None,
        synthesize=None,
        fit=None,
        learn_targets=None if switches.joint_topics else partial(standardised_topics, config),
        shared={
            "batch_size": config.batch_size,
            "unlabeled_batch_size": config.unlabeled_batch_size,
        },
    )


def standardised_topics(
    config: ConfigDict, dataset: Dataset, ids: np.ndarray
) -> tuple[np.ndarray, str]:
    """Topics of some documents, each with mean 0 and variance 1: float32 `[n, num_bits]`.

    Raises:
      UserError: the documents do not support as many topics as bits.
    """
    topics = topic_model(config, require_text(config, dataset), ids)(ids)
    deviation = np.maximum(topics.std(axis=0), 1e-6)
    standardised = (topics - topics.mean(axis=0)) / deviation
    return standardised.astype(np.float32), f"{topics.shape[1]} topics by LDA"


def _with_untagged(batch: Batch) -> dict[str, jax.Array]:
    """Tagged and untagged documents as one batch; the rows of words are made equally wide."""
    joined = {name: array for name, array in batch.items() if not name.startswith("unlabeled")}
    if "unlabeled_word" not in batch:
        return joined
    width = max(batch["word"].shape[1], batch["unlabeled_word"].shape[1])

    def wide(array: jax.Array) -> jax.Array:
        return jnp.pad(array, ((0, 0), (0, width - array.shape[1])))

    untagged = jnp.zeros((len(batch["unlabeled_word"]), batch["label"].shape[1]))
    joined["label"] = jnp.concatenate([batch["label"], untagged])
    for name in ("word", "tfidf", "count"):
        joined[name] = jnp.concatenate([wide(batch[name]), wide(batch[f"unlabeled_{name}"])])
    if "target" in batch:
        joined["target"] = jnp.concatenate([batch["target"], batch["unlabeled_target"]])
    return joined
