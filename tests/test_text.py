"""Documents as a data set: rows of words against the dense matrix, splits by shares, snippets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsh_jax.data.documents import dataset as text
from dsh_jax.data.documents.vocabulary import fit_vocabulary
from dsh_jax.data.images.dataset import ImageDataset
from dsh_jax.data.splits.by_share import draw_shares
from dsh_jax.errors import UserError
from tests import corpus


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    documents = corpus.load(tmp_path_factory.mktemp("text"))
    vocabulary = fit_vocabulary(documents.texts[:100], max_words=99, min_documents=1, max_share=1.0)
    return text.as_dataset(documents, vocabulary)


def test_rows_of_words_are_the_dense_matrix(dataset):
    ids = np.array([5, 3, 149, 5])
    taken = dataset.take(ids)
    assert {name: array.dtype for name, array in taken.items()} == {
        "word": np.int32, "tfidf": np.float32, "count": np.float32,
    }  # fmt: skip
    for name, matrix in (("tfidf", dataset.tfidf), ("count", dataset.counts)):
        dense = np.zeros((len(ids), matrix.shape[1]))
        for row in range(len(ids)):
            for word, value in zip(taken["word"][row], taken[name][row], strict=True):
                dense[row, word] += value
        np.testing.assert_array_equal(dense, matrix[ids].toarray())


def test_the_width_is_a_power_of_two_that_holds_the_longest():
    words = ["".join(chr(97 + int(d)) for d in f"{n:03}") for n in range(70)]
    texts = [" ".join(words[:n]) for n in (70, 5, 33, 32)]
    found = corpus.documents(texts)
    made = text.as_dataset(
        found, fit_vocabulary(texts, max_words=99, min_documents=1, max_share=1.0)
    )
    widths = [made.take(np.array([row]))["word"].shape[1] for row in range(4)]
    assert widths == [128, 32, 64, 32]
    assert made.take(np.array([1, 2]))["word"].shape == (2, 64)
    order = made.encoding_order(np.array([0, 1, 2, 3]))
    assert order.tolist() == [1, 3, 2, 0]


def test_documents_without_known_words_are_counted(dataset):
    assert np.flatnonzero(~dataset.has_words).tolist() == [3, 149]
    (remark,) = dataset.remarks()
    assert "2 documents have none" in remark
    assert not dataset.take(np.array([3]))["tfidf"].any()
    assert dataset.features(np.array([3, 4])).shape == (2, len(dataset.vocabulary.words))


def test_a_snippet_is_cut_between_words():
    assert text.snippet("one  two\nthree", 99) == "one two three"
    assert text.snippet("one two three", 9) == "one two …"
    assert text.snippet("", 9) == ""


def made(labels, is_test=None):
    labels = np.asarray(labels)
    n = len(labels)
    return ImageDataset(
        name="made", version="1", images=np.zeros((n, 1, 1, 1), np.uint8), labels=labels,
        is_test=np.zeros(n, bool) if is_test is None else np.asarray(is_test, bool),
        class_names=("a", "b"),
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(20, 80), seed=st.integers(0, 99), official=st.booleans(),
    validation_share=st.sampled_from([0.2, 0.5]), untagged=st.booleans(),
)  # fmt: skip
def test_shares_give_each_item_its_role(n, seed, official, validation_share, untagged):
    labels = np.ones((n, 2), np.uint8)
    if untagged:
        labels[::5] = 0
    data = made(labels, np.arange(n) % 4 == 1 if official else None)
    query_share = 0.0 if official else 0.25
    split = draw_shares(
        data, seed=seed, query_share=query_share, validation_share=validation_share
    )
    tagged = {row for row in range(n) if labels[row].any()}
    if official:
        assert set(split.query) == {row for row in tagged if data.is_test[row]}
    else:
        assert len(split.query) == round(0.25 * len(tagged)) and set(split.query) <= tagged
    others = tagged - set(split.query)
    assert set(split.database) == others
    assert set(split.labeled) | set(split.validation) == others
    assert not set(split.labeled) & set(split.validation)
    assert len(split.validation) == round(validation_share * len(others))
    assert set(split.unlabeled) == {
        row for row in range(n) if row not in tagged and not (official and data.is_test[row])
    }
    again = draw_shares(
        data, seed=seed, query_share=query_share, validation_share=validation_share
    )
    assert again.checksum == split.checksum
    assert split.protocol == f"{len(split.query)}/{len(others)}/{len(others)}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query_share": 1.0}, "data.query_share is 1.0"),
        ({"validation_share": -0.1}, "data.validation_share is -0.1"),
        ({"query_share": 0.0}, "has no official test items: set it above 0"),
        ({"seed": -1}, "data.split_seed is -1"),
        ({"query_share": 0.01}, "leaves 0 queries"),
        ({"validation_share": 0.05}, "leaves 1 validation items"),
        ({"validation_share": 0.99}, "leaves 0 labeled items"),
    ],
)
def test_invalid_shares(options, message):
    with pytest.raises(UserError, match=message):
        draw_shares(
            made(np.zeros(20, int)),
            **{"seed": 0, "query_share": 0.2, "validation_share": 0.2} | options,
        )
