"""Loads the data set and the split that the fields `data` of a config describe."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax.data.classes import usable_classes
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.documents import collections
from dsh_jax.data.documents.collections import Documents
from dsh_jax.data.documents.dataset import TextDataset, as_dataset
from dsh_jax.data.documents.own import COLUMNS as TEXT_COLUMNS
from dsh_jax.data.documents.own import Reading
from dsh_jax.data.documents.vdsh import SOURCE as VDSH
from dsh_jax.data.documents.vdsh import VdshDataset, load_vdsh, split_of
from dsh_jax.data.documents.vocabulary import ANALYSERS, LETTERS, Vocabulary, fit_vocabulary
from dsh_jax.data.documents.weights import WeightInputs
from dsh_jax.data.images import built_in
from dsh_jax.data.images.dataset import ImageDataset, ImageFiles, load_images
from dsh_jax.data.images.decoding import INTERPOLATIONS, LANCZOS, MOST_PIXELS
from dsh_jax.data.images.listing import list_images
from dsh_jax.data.images.nus_wide import list_nus_wide
from dsh_jax.data.lines import Mistakes, decoded
from dsh_jax.data.reading import read_bytes
from dsh_jax.data.signature import ImageInputs, Inputs, WordInputs
from dsh_jax.data.splits import by_class, unseen
from dsh_jax.data.splits.by_share import draw_shares
from dsh_jax.data.splits.from_lists import split_by_roles
from dsh_jax.data.splits.remarks import split_remarks
from dsh_jax.data.splits.shares import AUTOMATIC
from dsh_jax.data.splits.split import Split
from dsh_jax.data.splits.split import load_for as load_split_for
from dsh_jax.data.vectors.dataset import COLUMNS, VectorDataset, load_vectors
from dsh_jax.data.vectors.inputs import NORMALISATIONS, VectorInputs
from dsh_jax.errors import UserError, as_user_error
from dsh_jax.fields import SEED, Choice, Integer, Number, Pattern, Rules, Switch, Text

_COMMON: Rules = {
    "data.source": Text(),
    "data.split_seed": SEED,
    "data.split_file": Text(),
}
IMAGE_SIZE = Integer(8, 2**14)
"""Of image files, in pixels per side."""
_FILES: Rules = {
    "data.root": Text(),
    "data.image_root": Text(),
    "data.image_size": IMAGE_SIZE,
    "data.cache_dir": Text(),
    "data.memory_limit_gb": Number(least=0),
}
_PIXELS: Rules = {"data.max_pixels": Integer(1, 2**40)}
_INTERPOLATION: Rules = {"data.interpolation": Choice(tuple(INTERPOLATIONS))}
_VECTORS: Rules = {
    "data.root": Text(),
    **{f"data.{column}": Text() for column in COLUMNS},
    "data.name": Text(),
    "data.normalise": Choice(NORMALISATIONS),
    "data.cache_dir": Text(),
    "data.memory_limit_gb": Number(least=0),
}
_ONE_PLACE: Rules = {"data.data_dir": Text()}
_DRY_RUN: Rules = {"data.dry_run": Switch()}
_UNSEEN: Rules = {"data.unseen_classes": Integer(0, 10**9)}
_WORDS: Rules = {
    "data.max_words": Integer(1, 10**9),
    "data.min_documents": Integer(1, 10**9),
    "data.max_share": Number(above=0),
}
_LANGUAGE: Rules = {"data.stop_words": Text(), "data.token_pattern": Pattern()}
_NGRAMS: Rules = {
    "data.analyser": Choice(tuple(ANALYSERS)),
    "data.ngram_min": Integer(0, 100),
    "data.ngram_max": Integer(0, 100),
}
_OWN_TEXTS: Rules = {
    **{f"data.{column}_column": Text() for column in TEXT_COLUMNS},
    "data.tag_separator": Text(),
    "data.max_characters": Integer(0, 10**12),
    "data.max_tags": Integer(0, 10**9),
}
_SHARES: Rules = {
    "data.query_share": Number(least=0, below=1),
    "data.validation_share": Number(least=0, below=1),
}
_COUNTS: Rules = {
    "data.protocol": Text(),
    "data.queries_per_class": Integer(AUTOMATIC, 10**9),
    "data.labeled_per_class": Integer(0, 10**9),
    "data.database": Choice(("rest", "unlabeled")),
    "data.validation_per_class": Integer(AUTOMATIC, 10**9),
    "data.validation_from": Choice(("unlabeled", "labeled")),
}


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
    rules = {**_COMMON, **(_SHARES if "query_share" in data else _COUNTS)}
    rules |= _OF_SOURCE.get(source, _ONE_PLACE) if isinstance(source, str) else _ONE_PLACE
    if "dry_run" in data:
        rules |= _DRY_RUN
    if "max_pixels" in data:  # absent from configs of version 0.2, as the next one
        rules |= _PIXELS
    if "interpolation" in data:  # absent from configs of version 0.3
        rules |= _INTERPOLATION
    if "unseen_classes" in data:  # absent from configs of version 0.2
        rules |= _UNSEEN
    if source not in collections.NAMES:
        return rules
    # Absent from configs of version 0.2, the n-grams and the columns from those of version 0.4.
    newer = {**_LANGUAGE, **_NGRAMS, **_OWN_TEXTS}
    there = {name: rule for name, rule in newer.items() if name[len("data.") :] in data}
    return {**rules, **_WORDS, **there}


def known_fields(data: ConfigDict) -> set[str]:
    """The fields `data` that a config may have, even if this source does not read them.

    A source of one's own may have any fields.
    """
    if isinstance(data, ConfigDict) and data.get("source") not in SHIPPED:
        return {"data"}
    groups = (_COMMON, _ONE_PLACE, _FILES, _PIXELS, _INTERPOLATION, _VECTORS, _DRY_RUN, _WORDS,
              _LANGUAGE, _NGRAMS, _OWN_TEXTS, _SHARES, _COUNTS, _UNSEEN)  # fmt: skip
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


def image_shape_of(data: ConfigDict) -> tuple[int, int, int] | None:
    """Height, width and channels of a source's images; None if only reading it can tell."""
    if data.source in IMAGE_FILES:
        return data.image_size, data.image_size, 3
    return built_in.SHAPES.get(data.source)


def load_dataset(data: ConfigDict) -> Dataset:
    """The images, documents or vectors that `data.source` names.

    Raises:
      UserError: the source is unknown, or its data is missing or damaged.
    """
    if data.source not in SOURCES:
        raise UserError(f"data.source is {data.source!r}; set it to one of {', '.join(SOURCES)}.")
    return SOURCES[data.source](data)


def _load_built_in(data: ConfigDict) -> ImageDataset:
    return built_in.load(data.source, data.data_dir or None)


def _load_documents(data: ConfigDict) -> Documents:
    path = Path(data.data_dir) if data.data_dir else None
    reading = Reading(
        {column: data.get(f"{column}_column", "") for column in TEXT_COLUMNS},
        separator=data.get("tag_separator", ";"),
        max_characters=data.get("max_characters", 0),
        max_tags=data.get("max_tags", 0),
    )
    return collections.load_documents(data.source, path, reading)


def _load_vdsh(data: ConfigDict) -> VdshDataset:
    if not data.data_dir:
        raise UserError(
            "data.data_dir is empty; set it to a file such as ng20.tfidf.mat, or to its folder."
        )
    return load_vdsh(Path(data.data_dir))


def _load_image_files(data: ConfigDict) -> ImageFiles:
    if not data.root:
        raise UserError(
            "data.root is empty; set it to a folder of classes, to a .csv or .jsonl file of paths "
            "and labels, or to the folder of NUS-WIDE."
        )
    folder = Path(data.image_root).expanduser() if data.image_root else None
    interpolation = data.get("interpolation", LANCZOS)
    if data.source == "nus_wide":
        listing = list_nus_wide(Path(data.root), images=folder)
    else:
        listing = list_images(Path(data.root), root=folder)
    images = load_images(
        listing,
        name="nus_wide" if data.source == "nus_wide" else listing.source.stem,
        collection=data.source,
        size=data.image_size,
        cache=Path(data.cache_dir),
        memory_limit_gb=data.memory_limit_gb,
        max_pixels=data.get("max_pixels", MOST_PIXELS),
        # "auto" is left only where no config says which network will take the images.
        interpolation=interpolation if interpolation in INTERPOLATIONS else LANCZOS,
    )
    if data.source == "nus_wide":
        return images
    return usable_classes(images, tests_are_queries=_tests_are_queries(data))


def _load_features(data: ConfigDict) -> VectorDataset:
    if not data.root:
        raise UserError(
            "data.root is empty; set it to a .npy, .npz or Parquet file of vectors, or to a folder "
            "of .npy and .txt files."
        )
    vectors = load_vectors(
        Path(data.root),
        {column: data[column] for column in COLUMNS},
        normalise=data.normalise,
        cache=Path(data.cache_dir),
        memory_limit_gb=data.memory_limit_gb,
        collection=data.name or FEATURES,
    )
    return usable_classes(vectors, tests_are_queries=_tests_are_queries(data))


def _tests_are_queries(data: ConfigDict) -> bool:
    return data.queries_per_class in (0, AUTOMATIC)


IMAGE_FILES = ("image_files", "nus_wide")
FEATURES = "features"
WITH_ROOT = (*IMAGE_FILES, FEATURES)
"""The sources whose data is at `data.root`; that of the others is at `data.data_dir`."""
_OF_SOURCE: Mapping[str, Rules] = {**dict.fromkeys(IMAGE_FILES, _FILES), FEATURES: _VECTORS}
SHIPPED = (*built_in.NAMES, *WITH_ROOT, *collections.NAMES, VDSH)
SOURCES: Mapping[str, Callable[[ConfigDict], Dataset]] = {
    **dict.fromkeys(built_in.NAMES, _load_built_in),
    **dict.fromkeys(IMAGE_FILES, _load_image_files),
    FEATURES: _load_features,
    **dict.fromkeys(collections.NAMES, _load_documents),
    VDSH: _load_vdsh,
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
        return read_words(data, dataset, split, vocabulary)
    if isinstance(dataset, VectorDataset):
        return dataset.fit(split.training, saved if isinstance(saved, VectorInputs) else None)
    return dataset


def read_words(
    data: ConfigDict, found: Documents, split: Split, saved: Vocabulary | None
) -> TextDataset:
    """Documents as words, with the vocabulary of the training documents.

    Args:
      data: the fields `data` of a config.
      found: the documents.
      split: which of them are for training.
      saved: the vocabulary of an earlier run, if there is one.

    Raises:
      UserError: the vocabulary is empty, or the file of stop words cannot be read.
    """
    if saved is not None:
        return as_dataset(found, saved)
    analyser = data.get("analyser", "words")
    with as_user_error():
        vocabulary = fit_vocabulary(
            [found.texts[row] for row in split.training],
            max_words=data.max_words,
            min_documents=data.min_documents,
            max_share=data.max_share,
            stop_words=_stop_words(data.get("stop_words", "english")),
            token_pattern=data.get("token_pattern", LETTERS),
            analyser=analyser,
            ngrams=_ngrams(analyser, data.get("ngram_min", 0), data.get("ngram_max", 0)),
        )
    return as_dataset(found, vocabulary)


def _ngrams(analyser: str, shortest: int, longest: int) -> tuple[int, int]:
    """The n-grams that a config asks for; 0 is 1 for words, and 3 to 5 for characters."""
    usual = {"words": (1, 1), "characters": (3, 5)}[analyser]
    shortest = shortest or min(usual[0], longest or usual[0])
    longest = longest or max(usual[1], shortest)
    if longest < shortest:
        raise UserError(
            f"data.ngram_max is {longest}, below data.ngram_min, {shortest}; raise one or lower "
            "the other."
        )
    return shortest, longest


def _stop_words(name: str) -> str | list[str]:
    """What `data.stop_words` names: "english", none, or the lines of a file."""
    if name in ("", "english"):
        return name or []
    path = Path(name).expanduser()
    mistakes = Mistakes(path, "write one word a line, in UTF-8")
    try:
        words = [line for _, line in decoded(read_bytes(path), mistakes)]
    except OSError as error:
        raise UserError(
            f"data.stop_words is {name!r}, which cannot be read ({error.strerror or error}); set "
            "it to 'english', to '' for none, or to a file with one word a line."
        ) from error
    mistakes.check()
    return words


def draw_split(data: ConfigDict, dataset: Dataset) -> Split:
    """The split that a config describes: by a file, a named protocol, or counts.

    Raises:
      UserError: there is no such file or protocol, or the data has too few items or classes for it.
    """
    split = _draw_split(data, dataset)
    return split if data.split_file else replace(split, dataset=dataset.collection)


def _draw_split(data: ConfigDict, dataset: Dataset) -> Split:
    if data.split_file:
        split = load_split_for(dataset, data.split_file)
        check_unseen(data, split)
        return split
    if data.get("unseen_classes", 0):
        return _draw_unseen(data, dataset)
    if isinstance(dataset, VdshDataset):
        return split_of(dataset)
    if _has_its_split(dataset):
        assert isinstance(dataset, ImageFiles)
        return split_by_roles(
            dataset, dataset.roles, seed=data.split_seed,
            validation_per_class=data.validation_per_class,
        )
    if "query_share" in data:
        return draw_shares(
            dataset, seed=data.split_seed, query_share=data.query_share,
            validation_share=data.validation_share,
        )
    counts = (data.queries_per_class, data.labeled_per_class, data.database)
    if data.protocol:
        if data.protocol not in by_class.PROTOCOLS:
            raise UserError(
                f"data.protocol is {data.protocol!r}; set it to one of "
                f"{', '.join(by_class.PROTOCOLS)}, or leave it empty and set data.queries_per_class"
                " and the other counts."
            )
        counts = by_class.PROTOCOLS[data.protocol]
    split = by_class.draw(
        dataset,
        seed=data.split_seed,
        queries_per_class=counts[0],
        labeled_per_class=counts[1],
        database=counts[2],
        validation_per_class=data.validation_per_class,
        validation_from=data.validation_from,
        validation=_roles_of(dataset).get("validation"),
    )
    if data.protocol and split.protocol != data.protocol:
        raise UserError(
            f"data.protocol {data.protocol} does not fit {dataset.name}, which gives "
            f"{split.protocol}; choose the protocol of this data set, or leave it empty."
        )
    return split


def remarks(data: ConfigDict, dataset: Dataset, split: Split) -> list[str]:
    """What the user should know of a split before training, a line each."""
    asked = [data.get(field, 0) for field in ("queries_per_class", "validation_per_class")]
    if AUTOMATIC not in asked or data.split_file or _has_its_split(dataset):
        return []
    return split_remarks(
        dataset, split, queries_per_class=asked[0], validation_per_class=asked[1],
        given="validation" in _roles_of(dataset) and not split.unseen,
    )  # fmt: skip


def _roles_of(dataset: Dataset) -> Mapping[str, np.ndarray]:
    return dataset.roles if isinstance(dataset, ImageFiles) else {}


def _has_its_split(dataset: Dataset) -> bool:
    """Whether the data's lists say which images are queries, labeled and in the database."""
    return "query" in _roles_of(dataset) or isinstance(dataset, VdshDataset)


def check_unseen(data: ConfigDict, split: Split) -> None:
    """Refuses another number of unseen classes than that of `data.split_file`."""
    num_unseen = data.get("unseen_classes", 0)
    if num_unseen not in (0, len(split.unseen)):
        raise UserError(
            f"data.unseen_classes is {num_unseen}, but {data.split_file} has "
            f"{len(split.unseen)}; set it to 0, to take what the file has."
        )


def _draw_unseen(data: ConfigDict, dataset: Dataset) -> Split:
    """A split with classes that training never sees."""
    if _has_its_split(dataset) or "query_share" in data:
        raise UserError(
            f"data.unseen_classes is {data.unseen_classes}, but the split of {dataset.name} is not "
            "drawn by class; set it to 0."
        )
    if data.protocol:
        raise UserError(
            f"data.protocol is {data.protocol!r}, where all classes are seen, but "
            f"data.unseen_classes is {data.unseen_classes}; leave data.protocol empty and set "
            "data.queries_per_class and the other counts."
        )
    return unseen.draw(
        dataset,
        seed=data.split_seed,
        unseen_classes=data.unseen_classes,
        queries_per_class=data.queries_per_class,
        labeled_per_class=data.labeled_per_class,
        validation_per_class=data.validation_per_class,
        validation_from=data.validation_from,
    )
