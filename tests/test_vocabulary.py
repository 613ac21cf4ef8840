"""The vocabulary's matrices, against counting word by word."""

import json
import math
import re

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from dsh_jax.data.documents import vocabulary
from dsh_jax.data.documents.vocabulary import Vocabulary, fit_vocabulary
from dsh_jax.errors import UserError

TEXTS = (
    "The cat and the Dog: a cat!",
    "Dogs, dog2, 1987 dog x y",
    "élan vital; dog's ÉLAN",
    "",
    "of the and 12",
)


def fit(texts=TEXTS, max_words=100, min_documents=1, max_share=1.0):
    return fit_vocabulary(
        texts, max_words=max_words, min_documents=min_documents, max_share=max_share
    )


def tokens(text):
    """Runs of letters, two or more, that touch no digit or underscore; no stop words."""
    runs = re.findall(r"\w+", text.lower())
    return [run for run in runs if run.isalpha() and len(run) > 1 and run not in ENGLISH_STOP_WORDS]


def naive_tfidf(words, train, text):
    row = np.zeros(len(words))
    for column, word in enumerate(words):
        count = tokens(text).count(word)
        documents = sum(word in tokens(other) for other in train)
        if count:
            row[column] = (1 + math.log(count)) * (1 + math.log((1 + len(train)) / (1 + documents)))
    return row / (np.linalg.norm(row) or 1)


def test_words_are_letters_and_no_stop_words():
    assert fit().words == ("cat", "dog", "dogs", "vital", "élan")


a_text = st.lists(
    st.sampled_from("cat cat dog Dog bird the of x1 12 élan hat".split()), max_size=8
).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(train=st.lists(a_text, max_size=6), unseen=st.lists(a_text, min_size=1, max_size=4))
def test_counts_and_tfidf_are_those_of_a_word_by_word_count(train, unseen):
    train = [*train, "cat"]  # so that there is a word
    vocab = fit(train)
    assert vocab.words == tuple(sorted({word for text in train for word in tokens(text)}))
    counts = vocab.counts(unseen)
    np.testing.assert_array_equal(
        counts.toarray(), [[tokens(text).count(word) for word in vocab.words] for text in unseen]
    )
    tfidf = vocab.tfidf_of(counts)
    expected = np.array([naive_tfidf(vocab.words, train, text) for text in unseen])
    np.testing.assert_allclose(tfidf.toarray(), expected, atol=1e-6)
    for matrix, dtype in ((counts, np.int32), (tfidf, np.float32)):
        assert isinstance(matrix, sp.csr_array) and matrix.dtype == dtype


def test_rows_have_length_one_or_no_known_word():
    vocab = fit()
    counts = vocab.counts([*TEXTS, "unseen words only"])
    before = counts.copy()
    lengths = sp.linalg.norm(vocab.tfidf_of(counts), axis=1)
    np.testing.assert_allclose(lengths, [1, 1, 1, 0, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(counts.toarray(), before.toarray())


def test_the_bounds_choose_the_words():
    texts = ["red red red blue blue", "red green blue", "red green", "red pink"]
    assert fit(texts, max_words=2).words == ("blue", "red")
    assert fit(texts, min_documents=2).words == ("blue", "green", "red")
    assert fit(texts, max_share=0.5).words == ("blue", "green", "pink")
    assert fit(texts, max_share=1).words == fit(texts, max_share=1.0).words


def test_a_saved_vocabulary_gives_the_same_bits(tmp_path):
    vocab = fit()
    vocabulary.save(vocab, tmp_path / "new" / "vocabulary.json")
    loaded = vocabulary.load(tmp_path / "new" / "vocabulary.json")
    assert loaded.words == vocab.words
    assert loaded.idf.dtype == np.float64 and loaded.idf.tobytes() == vocab.idf.tobytes()
    counts, again = vocab.counts(TEXTS), loaded.counts(TEXTS)
    for left, right in (
        (counts, again),
        (vocab.tfidf_of(counts), loaded.tfidf_of(again)),
    ):
        assert left.data.tobytes() == right.data.tobytes()
        np.testing.assert_array_equal(left.indices, right.indices)
        np.testing.assert_array_equal(left.indptr, right.indptr)


@pytest.mark.parametrize(
    "content",
    [
        "",
        '{"words": ["cat", "d',
        "[1]",
        '{"words": ["cat"]}',
        '{"words": [], "idf": []}',
        '{"words": ["dog", "cat"], "idf": [1, 2]}',
        '{"words": ["cat", "cat"], "idf": [1, 2]}',
        '{"words": ["cat", 3], "idf": [1, 2]}',
        '{"words": ["cat"], "idf": [1, 2]}',
        '{"words": ["cat"], "idf": [NaN]}',
        '{"words": ["cat"], "idf": ["a"]}',
    ],
)
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "vocabulary.json"
    path.write_text(content)
    with pytest.raises(UserError, match="vocabulary.json cannot be read.*delete it"):
        vocabulary.load(path)


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "vocabulary.json"
    vocabulary.save(fit(), path)
    content = path.read_bytes()
    assert json.loads(content)["words"][-1] == "élan"
    for end in range(len(content)):
        path.write_bytes(content[:end])
        with pytest.raises(UserError, match="cannot be read"):
            vocabulary.load(path)


@pytest.mark.parametrize("texts", [[], ["", ""], ["the of 12", "x"]])
def test_texts_without_words_are_the_users_mistake(texts):
    with pytest.raises(UserError, match="data.min_documents=1 .*documents that have words"):
        fit(texts)


def test_bounds_that_leave_no_word_are_the_users_mistake():
    for options in ({"min_documents": 4}, {"min_documents": 9}, {"max_share": 0.1}):
        with pytest.raises(UserError, match="lower data.min_documents, raise data.max_share"):
            fit(**options)


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_words", 0), ("min_documents", 0), ("max_share", 0.0), ("max_share", 1.5)],
)
def test_options_out_of_range_are_named(name, value):
    with pytest.raises(UserError, match=f"data.{name} is {value}: it must be "):
        fit(**{name: value})


def test_counts_of_another_vocabulary_are_refused():
    with pytest.raises(ValueError, match=r"\[n, 5\], got \(2, 4\)"):
        fit().tfidf_of(sp.csr_array((2, 4), dtype=np.int32))
    with pytest.raises(ValueError, match="2 finite numbers"):
        Vocabulary(("cat", "dog"), np.ones(3))
