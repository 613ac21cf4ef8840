"""What neural SHTTM reads and explains of a document: its words, or a vector.

How vectors take the place of words is ours. See docs/methods.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.documents.dataset import WordDataset
from dsh_jax.data.signature import Signature, VectorInputs
from dsh_jax.devices import AXIS, Batch
from dsh_jax.errors import UserError
from dsh_jax.fields import Number, Rules
from dsh_jax.losses import Loss, slots
from dsh_jax.methods.frequencies import log_frequencies
from dsh_jax.methods.kinds import VECTORS
from dsh_jax.methods.word_players import topic_model, two_rows
from dsh_jax.networks.vectors import VectorDecoder, VectorEncoder
from dsh_jax.networks.words import TopicDecoder, WordEncoder
from dsh_jax.retrieval.baselines import principal_components

OF_VECTORS: Rules = {**slots.fields_of("vectors"), "loss.vector_weight": Number(least=0)}
"""Fields of configs for vectors alone."""

_MOST_FITTED = 200_000  # vectors that moments and principal components are fitted to
_BLOCK = 2**16  # vectors in memory at a time


class Content(Protocol):
    """What is read and explained, and how.

    Attributes:
      name: "words" or "vectors": of the decoder, the slot of its loss and the term of the loss.
      weight: config field in `loss` of that term's weight.
      topics_name: what `topics` gives, for the log.
    """

    name: str
    weight: str
    topics_name: str

    @property
    def sample(self) -> tuple[jax.Array, ...]:
        """The encoder's inputs for a batch of two, to initialise it."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Of the shapes that the loss is tried on."""

    def encoder(self, config: ConfigDict) -> nn.Module:
        """The network from inputs to code logits."""

    def decoder(self) -> nn.Module:
        """The network from codes `[batch, num_bits]` to what `misfit` takes."""

    def inputs(self, batch: Batch) -> tuple[jax.Array, ...]:
        """What the encoder takes of a batch."""

    def statistics(self, dataset: Dataset, ids: np.ndarray) -> dict[str, jax.Array]:
        """What training items `[n]` fix of the decoder: its `batch_stats`."""

    def misfit(
        self, loss: Loss, decoded: jax.Array, batch: Batch, stats: Mapping[str, jax.Array]
    ) -> jax.Array:
        """The mean loss of what is decoded, per word or per number of a vector."""

    def topics(self, config: ConfigDict, dataset: Dataset, ids: np.ndarray) -> np.ndarray:
        """What codes stay near if topics are not learned with them, `[n, num_bits]`.

        Raises:
          UserError: the documents support fewer of them than bits.
        """

    def check(self, config: ConfigDict) -> None:
        """Refuses a config that is not for this content.

        Raises:
          UserError: names the field and what to set it to.
        """


@dataclass(frozen=True)
class Words:
    """Words of a vocabulary of `num_words`, and LDA's topics."""

    num_words: int
    name = "words"
    weight = "word_weight"
    topics_name = "topics by LDA"

    @property
    def sample(self) -> tuple[jax.Array, ...]:
        return two_rows()

    @property
    def sizes(self) -> Mapping[str, int]:
        return {"words": self.num_words, "width": 32}

    def check(self, config: ConfigDict) -> None:
        del config  # all of them are for words

    def encoder(self, config: ConfigDict) -> nn.Module:
        return WordEncoder(num_words=self.num_words, **_encoder_options(config))

    def decoder(self) -> nn.Module:
        return TopicDecoder(self.num_words)

    def inputs(self, batch: Batch) -> tuple[jax.Array, ...]:
        return batch["word"], batch["tfidf"]

    def statistics(self, dataset: Dataset, ids: np.ndarray) -> dict[str, jax.Array]:
        assert isinstance(dataset, WordDataset)
        counts = dataset.counts[ids]
        length = max(counts.sum() / len(ids), 1.0)
        return {"unigram": log_frequencies(counts), "length": jnp.asarray(length, jnp.float32)}

    def misfit(
        self, loss: Loss, decoded: jax.Array, batch: Batch, stats: Mapping[str, jax.Array]
    ) -> jax.Array:
        each = jax.vmap(loss)(decoded, batch["word"], batch["count"])
        return each.mean() / stats["length"]

    def topics(self, config: ConfigDict, dataset: Dataset, ids: np.ndarray) -> np.ndarray:
        return topic_model(config, dataset, ids)(ids)


@dataclass(frozen=True)
class Vectors:
    """Vectors, and their first principal components in place of topics."""

    signature: Signature
    name = "vectors"
    weight = "vector_weight"
    topics_name = "principal components"

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        (width,) = self.signature.item_shape
        return width

    @property
    def sample(self) -> tuple[jax.Array, ...]:
        return (jnp.zeros((2, self.width)),)

    @property
    def sizes(self) -> Mapping[str, int]:
        return {"width": self.width}

    def check(self, config: ConfigDict) -> None:
        fields.check(config, OF_VECTORS)
        if not config.improvements.joint_topics and config.num_bits > self.width:
            raise UserError(
                f"num_bits is {config.num_bits}, but vectors of {self.width} numbers have no more "
                "principal components than that; set improvements.joint_topics to True, or "
                f"num_bits to {self.width} at most."
            )

    def encoder(self, config: ConfigDict) -> nn.Module:
        return VectorEncoder(**_encoder_options(config))

    def decoder(self) -> nn.Module:
        return VectorDecoder(self.width)

    def inputs(self, batch: Batch) -> tuple[jax.Array, ...]:
        return (self._scaled(batch["vector"]),)

    def statistics(self, dataset: Dataset, ids: np.ndarray) -> dict[str, jax.Array]:
        some = self._scaled(dataset.features(_spread(ids)))
        mean = some.mean(axis=0)
        deviation = jnp.sqrt(jnp.square(some - mean).mean())
        return {"mean": mean, "deviation": jnp.maximum(deviation, 1e-6)}

    def misfit(
        self, loss: Loss, decoded: jax.Array, batch: Batch, stats: Mapping[str, jax.Array]
    ) -> jax.Array:
        vectors = (self._scaled(batch["vector"]) - stats["mean"]) / stats["deviation"]
        return jax.vmap(loss)(decoded, vectors).mean() / self.width

    def topics(self, config: ConfigDict, dataset: Dataset, ids: np.ndarray) -> np.ndarray:
        mean, components = principal_components(
            dataset.features(_spread(ids)), config.num_bits, config.topics.seed, "SHTTM"
        )
        blocks = [ids[first : first + _BLOCK] for first in range(0, len(ids), _BLOCK)]
        return np.concatenate([(dataset.features(rows) - mean) @ components for rows in blocks])

    def _scaled(self, vectors: Any) -> jax.Array:
        """Vectors as networks take them."""
        return VECTORS.to_float(self.signature)(jnp.asarray(vectors))


def content_of(signature: Signature) -> Words | Vectors:
    """What a document is, as the data's signature says."""
    if isinstance(signature.inputs, VectorInputs):
        return Vectors(signature)
    return Words(signature.num_words)


def _encoder_options(config: ConfigDict) -> dict[str, Any]:
    """The attributes of a `CodeEncoder`."""
    return {
        "num_bits": config.num_bits,
        "hidden": config.encoder.hidden if config.improvements.nonlinear_encoder else 0,
        "dropout": config.encoder.dropout,
        "word_dropout": config.encoder.word_dropout,
        "sharpness": float(config.encoder.sharpness),
        "axis_name": AXIS,
    }


def _spread(ids: np.ndarray) -> np.ndarray:
    """Some ids, evenly spread: at most as many as are fitted to."""
    return ids[:: -(-len(ids) // _MOST_FITTED)]
