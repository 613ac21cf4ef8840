"""Networks and the topic model, shared by the methods for documents."""

from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.documents.dataset import WordDataset
from dsh_jax.data.documents.topics import infer_topics, learn_topics
from dsh_jax.data.signature import WeightInputs, WordInputs
from dsh_jax.devices import Batch
from dsh_jax.errors import as_user_error
from dsh_jax.fields import SEED, Integer, Rules, Text
from dsh_jax.methods.base import Network
from dsh_jax.methods.players import Players

DOCUMENTS = (WordInputs.kind, WeightInputs.kind)
"""The kinds of items that methods for documents take."""

TOPIC_FIELDS: Rules = {
    "topics.seed": SEED,
    "topics.iterations": Integer(1, 10**9),
    "topics.cache": Text(),
}


def word_players(
    networks: dict[str, nn.Module],
    first: str,
    inputs: Mapping[str, tuple[tuple[int, ...], ...]] | None = None,
) -> Players:
    """Players whose first network maps rows of words to code logits, or to features.

    Args:
      networks, first, inputs: as for `Players`.
    """
    return Players(networks, first, two_rows(), inputs or {})


def two_rows() -> tuple[jax.Array, jax.Array]:
    """Two documents, to initialise a network that reads rows of words."""
    return jnp.zeros((2, 1), jnp.int32), jnp.zeros((2, 1))


def with_untagged(batch: Batch) -> dict[str, jax.Array]:
    """Tagged and untagged documents as one batch, their rows of words padded to one width."""
    joined = {name: array for name, array in batch.items() if not name.startswith("unlabeled")}
    if "unlabeled_position" not in batch:
        return joined
    untagged = jnp.zeros((len(batch["unlabeled_position"]), batch["label"].shape[1]))
    joined["label"] = jnp.concatenate([batch["label"], untagged])
    for name in ("word", "tfidf", "count", "vector", "target"):
        if name in batch:
            joined[name] = _stacked(batch[name], batch[f"unlabeled_{name}"])
    return joined


def _stacked(*parts: jax.Array) -> jax.Array:
    """Arrays `[n, any]` as one, their rows filled up by zeros."""
    width = max(array.shape[1] for array in parts)
    return jnp.concatenate(
        [jnp.pad(array, ((0, 0), (0, width - array.shape[1]))) for array in parts]
    )


def word_network(network: nn.Module, name: str) -> Network:
    """The network that makes codes of `word` and `tfidf`, `[batch, width]`."""
    players = word_players({name: network}, name)
    return Network(
        init=players.init_variables,
        encode=lambda kept, inputs: nn.sigmoid(
            players.evaluate(kept, name, inputs["word"], inputs["tfidf"])
        ),
    )


def topic_model(
    config: ConfigDict, dataset: Dataset, training: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """LDA fitted to the training documents: ids `[m]` -> topic shares `[m, num_bits]`.

    Raises:
      UserError: the documents support fewer topics than bits.
    """
    assert isinstance(dataset, WordDataset)
    with as_user_error():
        topics = learn_topics(
            dataset.counts[training],
            num_topics=config.num_bits,
            seed=config.topics.seed,
            iterations=config.topics.iterations,
            cache=Path(config.topics.cache).expanduser() if config.topics.cache else None,
        )
    return lambda ids: infer_topics(topics, dataset.counts[ids])
