"""Numerical code raises ValueError, which becomes the user's sentence where a config is read."""

from pathlib import Path

import numpy as np
import pytest

from dsh_jax.data.documents.loading import read_words
from dsh_jax.data.loading import fields_of
from dsh_jax.data.splits.by_share import draw_shares
from dsh_jax.errors import UserError
from dsh_jax.fields import SEED, Integer, check
from dsh_jax.methods.word_players import topic_model
from dsh_jax.networks.generator import Generator
from tests import corpus

NUMERICS = (
    "retrieval/*.py", "networks/*.py", "methods/cnnh_codes.py",
    "methods/similarity.py", "methods/shttm_codes.py", "methods/shttm_hash.py",
    "data/documents/lda.py", "data/documents/topics.py", "data/documents/vocabulary.py",
)  # fmt: skip


@pytest.mark.parametrize("pattern", NUMERICS)
def test_numerical_modules_know_no_user(pattern):
    found = sorted((Path(__file__).parents[1] / "dsh_jax").glob(pattern))
    assert found
    assert [path.name for path in found if "UserError" in path.read_text()] == []


def read(tmp_path, **changes):
    config = corpus.config(corpus.write(tmp_path / "a.jsonl"))
    config.data.update(changes)
    documents = corpus.load(tmp_path)
    split = draw_shares(documents, seed=0, query_share=0.0, validation_share=0.2)
    return config, read_words(config.data, documents, split, None), split


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_documents": 1000}, "No word is left with data.min_documents=1000"),
        ({"max_share": 2.0}, "data.max_share is 2.0"),
        ({"stop_words": "none.txt"}, "data.stop_words is 'none.txt', which cannot be read"),
        ({"token_pattern": "[0-9]{9}"}, "No word is left .*data.token_pattern says what a word"),
    ],
)
def test_options_of_the_vocabulary(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, **changes)


def test_stop_words_of_a_file(tmp_path):
    (tmp_path / "stop.txt").write_bytes("\ufeffapple\r\n\r\nCherry\r\n".encode())
    _, every, _ = read(tmp_path, stop_words="")
    _, kept, _ = read(tmp_path, stop_words=str(tmp_path / "stop.txt"))
    assert set(every.vocabulary.words) - set(kept.vocabulary.words) == {"apple", "cherry"}
    (tmp_path / "stop.txt").write_bytes(b"apple\ncaf\xe9\n")
    with pytest.raises(UserError, match="Line 2 of .*stop.txt is not in UTF-8.*one word a line"):
        read(tmp_path, stop_words=str(tmp_path / "stop.txt"))


@pytest.mark.parametrize("pattern", ["(", "", "(a)(b)", 3, "a\0b"])
def test_a_pattern_that_is_none(tmp_path, pattern):
    data = corpus.config(tmp_path / "a.jsonl").data
    data = type(data)({**data.to_dict(), "token_pattern": pattern})
    with pytest.raises(UserError, match="data.token_pattern is .*a regular expression"):
        check({"data": data}, fields_of(data))


def test_more_topics_than_the_documents_support(tmp_path):
    config, dataset, split = read(tmp_path)
    config.num_bits = 500
    with pytest.raises(UserError, match="num_bits is 500"):
        topic_model(config, dataset, split.training)


def test_a_generator_is_refused_when_it_is_made():
    with pytest.raises(ValueError, match="28x28"):
        Generator((28, 28, 1), width=2)
    assert Generator((32, 32, 3), width=2).clone().image_shape == (32, 32, 3)


@pytest.mark.parametrize("seed", [2**32, 2**32 + 1, 2**64, -1, True, 0.0])
def test_seeds_that_would_count_as_others_are_refused(tmp_path, seed):
    """`jax.random.key` of 2**32 is that of 0."""
    data = corpus.config(tmp_path / "a.jsonl").data
    data.unlock()
    data = type(data)({**data.to_dict(), "split_seed": seed})
    rules = {name: rule for name, rule in fields_of(data).items() if name == "data.split_seed"}
    with pytest.raises(UserError, match="data.split_seed is .*an integer from 0 to 4294967295"):
        check({"data": data}, rules)
    assert not SEED.allows(seed)


def test_split_seeds_are_distinct_wherever_they_are_used(tmp_path):
    documents = corpus.load(tmp_path)
    drawn = [
        draw_shares(documents, seed=seed, query_share=0.3, validation_share=0.1).query
        for seed in (0, 1, 2**32 - 1, 2**32, 2**32 + 1)
    ]
    assert len({tuple(ids.tolist()) for ids in drawn}) == len(drawn)


def test_integers_with_and_without_a_most():
    assert Integer(1).allows(10**30) and Integer(1).allowed == "an integer of 1 or more"
    limited = Integer(1, most=3)
    assert [value for value in (0, 1, 3, 4, True, 2.0, "2", np.nan) if limited.allows(value)] == [
        1, 3,
    ]  # fmt: skip
    assert limited.allowed == "an integer from 1 to 3"
