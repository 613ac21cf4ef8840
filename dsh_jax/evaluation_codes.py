"""Codes to measure: of a trained network, of another head on it, and of untrained baselines."""

from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from dsh_jax import hamming, hosts
from dsh_jax.baselines import CLASSIFIERS, FEATURES, TOPICS
from dsh_jax.codes_of_items import Codes, encode_all
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.documents.dataset import WordDataset
from dsh_jax.data.splits.split import Split
from dsh_jax.data.splits.unseen import of_seen_classes
from dsh_jax.encoder import Encoder
from dsh_jax.errors import UserError, as_user_error
from dsh_jax.forward import packed_bits
from dsh_jax.methods.word_players import topic_model
from dsh_jax.retrieval.baselines import (
    fit_itq,
    fit_lsh,
    fit_pca,
    itq_projection,
    label_codes,
    median_codes,
)
from dsh_jax.retrieval.graded import fit_graded

MOST_FITTED = 200_000  # items that a baseline is fitted to
BLOCK = 2**16  # items whose features are in memory at a time

FITS: dict[str, Callable[..., Callable[[np.ndarray], np.ndarray]]] = {
    "itq": fit_itq,
    "lsh": fit_lsh,
    "pca": fit_pca,
    "topics": median_codes,
    "topics_itq": fit_itq,
}


def check_network_has(encoder: Encoder, baseline: str) -> None:
    """Refuses a baseline that needs a classifier, or a hash stream on features, without one."""
    lacks = ""
    if baseline in CLASSIFIERS and not encoder.has_classifier:
        lacks = "classifier"
    if baseline in FEATURES and not encoder.has_hash_stream:
        lacks = "hash stream on features of a network"
    if lacks:
        raise UserError(f"{encoder.method} has no {lacks}; leave out --baseline {baseline}.")


def graded_encoder(encoder: Encoder, dataset: Dataset, split: Split) -> Encoder:
    """The encoder with graded class codes, fitted to the validation items.

    Raises:
      UserError: the split has no validation items, or the codes have fewer bits than classes.
    """
    ids = split.validation
    logits = encoder.classify_dataset(dataset, ids, finish=np.asarray)
    labels = of_seen_classes(dataset, split.unseen).labels[ids]
    with as_user_error():
        return encoder.graded(fit_graded(logits, labels, num_bits=encoder.num_bits))


def features_itq_encoder(
    encoder: Encoder, dataset: Dataset, split: Split, num_bits: int | None = None
) -> Encoder:
    """The encoder with ITQ of its features, fitted to training items; it takes no labels.

    Args:
      encoder, dataset, split: the network, and what it is fitted to.
      num_bits: length of a code; None for that of the encoder's.

    Raises:
      UserError: the network has fewer features than the codes have bits.
    """
    seen = _fitted_to(split)
    with as_user_error():
        features = encoder.represent_dataset(dataset, seen)
        fitted = itq_projection(features, num_bits=num_bits or encoder.num_bits, seed=split.seed)
        mean, projection = hosts.from_first(fitted)
        return encoder.with_hash_layer(projection, -mean @ projection, "features_itq")


HEADS: dict[str, Callable[..., Encoder]] = {
    "graded": graded_encoder,
    "features_itq": features_itq_encoder,
}
"""Baseline -> (encoder, dataset, split) -> an encoder with the same network and other codes."""


def trained_codes(encoder: Encoder, dataset: Dataset, split: Split, *, as_labels: bool) -> Codes:
    """The encoder's codes of all items, or its classifier's labels as codes.

    Several processes make a part each.
    """
    single = encoder.signature.labels == "single"

    def packed_labels(logits: np.ndarray) -> np.ndarray:
        predicted = logits == logits.max(axis=1, keepdims=True) if single else logits > 0
        with as_user_error():  # too few bits for the classes
            return hamming.pack(label_codes(predicted, num_bits=encoder.num_bits))

    def encode_part(ids: np.ndarray) -> np.ndarray:
        if as_labels:
            return encoder.classify_dataset(dataset, ids, finish=packed_labels)
        return encoder.encode_dataset(dataset, ids, finish=packed_bits)

    def encode(ids: np.ndarray) -> np.ndarray:
        return hosts.shared_out(encode_part, ids, unit=encoder.batch_size)

    return encode_all(dataset, split, encode)


def _fitted_to(split: Split) -> np.ndarray:
    """Ids of training items of any kind, for what needs no labels; of millions, some of them."""
    return split.training[:: -(-len(split.training) // MOST_FITTED)]


def unsupervised_codes(
    config: ConfigDict, dataset: Dataset, split: Split, name: str
) -> tuple[Codes, dict[str, Any]]:
    seen = _fitted_to(split)
    features: Callable[[np.ndarray], Any] = dataset.features
    options = {"num_bits": config.num_bits, "seed": config.seed}
    if name in TOPICS:
        if not isinstance(dataset, WordDataset):
            raise UserError(f"{dataset.name} has no topics; leave out --baseline {name}.")
        features = topic_model(config, dataset, seen)
    if name == "topics":
        options = {}  # as many topics as bits, and nothing random
    with as_user_error():
        encoder = FITS[name](features(seen), **options)
        codes = encode_all(
            dataset, split, lambda ids: np.concatenate([
                hamming.pack(encoder(features(ids[first : first + BLOCK])))
                for first in range(0, len(ids), BLOCK)
            ])
        )  # fmt: skip
    return codes, {"codes": name, "run": {}}
