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

from dsh_jax.data.documents.vocabulary import fit_vocabulary
from dsh_jax.data.signature import Signature, WordInputs, from_dict

TEXTS = (
    "The cat and the Dog: a cat!",
    "Dogs, dog2, 1987 dog x y",
    "élan vital; dog's ÉLAN",
    "",
    "of the and 12",
)


def fit(texts=TEXTS, max_words=100, min_documents=1, max_share=1.0, **options):
    return fit_vocabulary(
        texts, max_words=max_words, min_documents=min_documents, max_share=max_share, **options
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


GERMAN = ("Der Hund und die Katze", "die U-Bahn fährt 12 Hunde", "Das ist's")


@pytest.mark.filterwarnings("error")  # scikit-learn warns of stop words that are no words
def test_stop_words_and_patterns_of_other_languages():
    assert fit(GERMAN, stop_words=()).words == (
        "bahn", "das", "der", "die", "fährt", "hund", "hunde", "ist", "katze", "und",
    )  # fmt: skip
    # Cut into words as the texts are: "ist's" is "ist".
    left_out = ["die", " Der ", "UND", "", "ist's"]
    assert fit(GERMAN, stop_words=left_out).words == (
        "bahn", "das", "fährt", "hund", "hunde", "katze",
    )  # fmt: skip
    numbers = fit(GERMAN, stop_words=left_out, token_pattern=r"\w+")
    assert numbers.words == ("12", "bahn", "das", "fährt", "hund", "hunde", "katze", "u")
    characters = fit(["你好", "好的"], stop_words=(), token_pattern=r"\w")
    assert characters.words == ("你", "好", "的")
    assert characters.counts(["好好"]).toarray().tolist() == [[0, 2, 0]]


def test_the_pattern_is_kept_with_the_vocabulary():
    assert "token_pattern" not in saved(fit())["inputs"]  # as version 0.2 wrote it
    vocab = fit(GERMAN, stop_words=(), token_pattern=r"\w+")
    loaded = from_dict(saved(vocab)).inputs.vocabulary
    assert loaded.token_pattern == r"\w+"
    assert (loaded.counts(["12 u"]) != vocab.counts(["12 u"])).nnz == 0
    assert loaded.counts(["12 u"]).sum() == 2


def saved(vocab):
    """A vocabulary as a signature keeps it, through JSON."""
    content = Signature(WordInputs(vocab), "multi", ("x",)).to_dict()
    return json.loads(json.dumps(content))


def test_a_saved_vocabulary_gives_the_same_bits():
    vocab = fit()
    loaded = from_dict(saved(vocab)).inputs.vocabulary
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
    "inputs",
    [
        {"words": ["cat"]},
        {"words": [], "idf": []},
        {"words": ["dog", "cat"], "idf": [1, 2]},
        {"words": ["cat", "cat"], "idf": [1, 2]},
        {"words": ["cat"], "idf": [1, 2]},
        {"words": ["cat"], "idf": [math.nan]},
        {"words": ["cat"], "idf": ["a"]},
        {"words": ["cat"], "idf": [1], "token_pattern": "("},
        {"words": ["cat"], "idf": [1], "token_pattern": 3},
        {"words": 3, "idf": [1]},
        None,
    ],
)
def test_a_damaged_vocabulary_is_refused(inputs):
    with pytest.raises(ValueError):
        from_dict(saved(fit()) | {"inputs": inputs})
