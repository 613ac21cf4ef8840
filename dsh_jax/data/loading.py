"""Loads the data set that the fields `data` of a config describe."""

from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.documents import collections
from dsh_jax.data.documents import loading as documents
from dsh_jax.data.documents.collections import Documents
from dsh_jax.data.documents.vdsh import SOURCE as VDSH
from dsh_jax.data.documents.weights import WeightInputs
from dsh_jax.data.images import built_in
from dsh_jax.data.images import loading as images
from dsh_jax.data.signature import ImageInputs, Inputs, WordInputs
from dsh_jax.data.splits import drawing
from dsh_jax.data.splits.split import Split
from dsh_jax.data.vectors import loading as vectors
from dsh_jax.data.vectors.dataset import VectorDataset
from dsh_jax.data.vectors.inputs import VectorInputs
from dsh_jax.data.vectors.loading import FEATURES
from dsh_jax.errors import UserError
from dsh_jax.fields import SEED, Integer, Rules, Switch, Text

_COMMON: Rules = {
    "data.source": Text(),
    "data.split_seed": SEED,
    "data.split_file": Text(),
}
_ONE_PLACE: Rules = {"data.data_dir": Text()}
_DRY_RUN: Rules = {"data.dry_run": Switch()}
_UNSEEN: Rules = {"data.unseen_classes": Integer(0, 10**9)}


def fields_of(data: ConfigDict) -> Rules:
    """The config fields that reading and dividing this data needs, each with its rule.

    Raises:
      UserError: `data` is not a group of fields.
    """
    if not isinstance(data, ConfigDict):
        raise UserError(
            f"data is {fields.shown(data)}; make it a ConfigDict, as in configs/default.py."
        )
    source = data.get("source", "")
    rules = {**_COMMON, **(drawing.SHARES if "query_share" in data else drawing.COUNTS)}
    rules |= _OF_SOURCE.get(source, _ONE_PLACE) if isinstance(source, str) else _ONE_PLACE
    if "dry_run" in data:
        rules |= _DRY_RUN
    if "max_pixels" in data:  # absent from configs of version 0.2, as the next one
        rules |= images.PIXELS
    if "interpolation" in data:  # absent from configs of version 0.3
        rules |= images.INTERPOLATION
    if "unseen_classes" in data:  # absent from configs of version 0.2
        rules |= _UNSEEN
    if source not in collections.NAMES:
        return rules
    # Absent from configs of version 0.2, the n-grams and the columns from those of version 0.4.
    newer = {**documents.LANGUAGE, **documents.NGRAMS, **documents.OWN_TEXTS}
    there = {name: rule for name, rule in newer.items() if name[len("data.") :] in data}
    return {**rules, **documents.WORDS, **there}


def known_fields(data: ConfigDict) -> set[str]:
    """The fields `data` that a config may have, even if this source does not read them.

    A source of one's own may have any fields.
    """
    if isinstance(data, ConfigDict) and data.get("source") not in SHIPPED:
        return {"data"}
    groups = (
        _COMMON, _ONE_PLACE, _DRY_RUN, _UNSEEN, drawing.SHARES, drawing.COUNTS,
        images.OF_FILES, images.PIXELS, images.INTERPOLATION, vectors.OF_FEATURES,
        documents.WORDS, documents.LANGUAGE, documents.NGRAMS, documents.OWN_TEXTS,
    )  # fmt: skip
    return {field for rules in groups for field in rules}


def kind_of(data: ConfigDict) -> str:
    """What a source gives, "images", "documents" or "vectors"; empty if only reading can tell."""
    if data.source in collections.NAMES:
        return WordInputs.kind
    if data.source == VDSH:
        return WeightInputs.kind
    if data.source == FEATURES:
        return VectorInputs.kind
    return ImageInputs.kind if data.source in SHIPPED else ""


def load_dataset(data: ConfigDict) -> Dataset:
    """The images, documents or vectors that `data.source` names.

    Raises:
      UserError: the source is unknown, or its data is missing or damaged.
    """
    if data.source not in SOURCES:
        raise UserError(f"data.source is {data.source!r}; set it to one of {', '.join(SOURCES)}.")
    return SOURCES[data.source](data)


WITH_ROOT = (*images.FILES, FEATURES)
"""The sources whose data is at `data.root`; that of the others is at `data.data_dir`."""
_OF_SOURCE: Mapping[str, Rules] = {
    **dict.fromkeys(images.FILES, images.OF_FILES),
    FEATURES: vectors.OF_FEATURES,
}
SHIPPED = (*built_in.NAMES, *WITH_ROOT, *collections.NAMES, VDSH)
SOURCES: Mapping[str, Callable[[ConfigDict], Dataset]] = {
    **dict.fromkeys(built_in.NAMES, images.load_built_in),
    **dict.fromkeys(images.FILES, images.load_image_files),
    FEATURES: vectors.load_features,
    **dict.fromkeys(collections.NAMES, documents.load_documents),
    VDSH: documents.load_vdsh_file,
}
"""Values of a config's `data.source` -> function from the fields `data` to the data set."""


def fit_inputs(
    data: ConfigDict, dataset: Dataset, split: Split, saved: Inputs | None
) -> Dataset:
    """The data with what is fitted to its training items: words of documents, or a normalisation.

    Args:
      data: the fields `data` of a config.
      dataset: as `load_dataset` gives it.
      split: which items are for training.
      saved: of an earlier run or of an encoder, to be used again; None to fit anew.

    Raises:
      UserError: as `read_words`.
    """
    if isinstance(dataset, Documents):
        vocabulary = saved.vocabulary if isinstance(saved, WordInputs) else None
        return documents.read_words(data, dataset, split, vocabulary)
    if isinstance(dataset, VectorDataset):
        return dataset.fit(split.training, saved if isinstance(saved, VectorInputs) else None)
    return dataset
