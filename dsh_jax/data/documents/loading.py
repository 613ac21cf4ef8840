"""Loads documents that the fields `data` of a config describe, and fits their vocabulary."""

from pathlib import Path

from ml_collections import ConfigDict

from dsh_jax.data.documents import collections
from dsh_jax.data.documents.collections import Documents
from dsh_jax.data.documents.dataset import TextDataset, as_dataset
from dsh_jax.data.documents.own import COLUMNS, Reading
from dsh_jax.data.documents.vdsh import VdshDataset, load_vdsh
from dsh_jax.data.documents.vocabulary import ANALYSERS, LETTERS, Vocabulary, fit_vocabulary
from dsh_jax.data.lines import Mistakes, decoded
from dsh_jax.data.reading import read_bytes
from dsh_jax.data.splits.split import Split
from dsh_jax.errors import UserError, as_user_error
from dsh_jax.fields import Choice, Integer, Number, Pattern, Rules, Text

WORDS: Rules = {
    "data.max_words": Integer(1, 10**9),
    "data.min_documents": Integer(1, 10**9),
    "data.max_share": Number(above=0),
}
LANGUAGE: Rules = {"data.stop_words": Text(), "data.token_pattern": Pattern()}
NGRAMS: Rules = {
    "data.analyser": Choice(tuple(ANALYSERS)),
    "data.ngram_min": Integer(0, 100),
    "data.ngram_max": Integer(0, 100),
}
OWN_TEXTS: Rules = {
    **{f"data.{column}_column": Text() for column in COLUMNS},
    "data.tag_separator": Text(),
    "data.max_characters": Integer(0, 10**12),
    "data.max_tags": Integer(0, 10**9),
}


def load_documents(data: ConfigDict) -> Documents:
    """The documents of a collection, or of the user's own.

    Raises:
      UserError: they are missing or damaged.
    """
    path = Path(data.data_dir) if data.data_dir else None
    reading = Reading(
        {column: data.get(f"{column}_column", "") for column in COLUMNS},
        separator=data.get("tag_separator", ";"),
        max_characters=data.get("max_characters", 0),
        max_tags=data.get("max_tags", 0),
    )
    return collections.load_documents(data.source, path, reading)


def load_vdsh_file(data: ConfigDict) -> VdshDataset:
    """The rows of a file of the VDSH benchmark.

    Raises:
      UserError: it is missing or damaged.
    """
    if not data.data_dir:
        raise UserError(
            "data.data_dir is empty; set it to a file such as ng20.tfidf.mat, or to its folder."
        )
    return load_vdsh(Path(data.data_dir))


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
