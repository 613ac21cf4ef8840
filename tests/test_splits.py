"""Splits against their definition, on data sets made so that every count is known by hand."""

import hashlib
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsh_jax.data.images import built_in as sources
from dsh_jax.data.images.dataset import ImageDataset
from dsh_jax.data.splits import by_class
from dsh_jax.data.splits.split import ID_FIELDS, Split
from dsh_jax.data.splits.split import load as load_split
from dsh_jax.data.splits.split import load_for as load_split_for
from dsh_jax.data.splits.split import save as save_split
from dsh_jax.errors import UserError


def make_dataset(per_class, test_per_class=0, seed=0, name="made"):
    """Classes of `per_class` items, the ids shuffled, the first of each class official test."""
    labels = np.repeat(np.arange(len(per_class)), per_class)
    is_test = np.concatenate([np.arange(count) < test_per_class for count in per_class])
    order = np.random.default_rng(seed).permutation(len(labels))
    return ImageDataset(
        name=name,
        version="1",
        images=np.zeros((len(labels), 1, 1, 1), np.uint8),
        labels=labels[order].astype(np.int32),
        is_test=is_test[order],
        class_names=tuple(f"c{label}" for label in range(len(per_class))),
    )


def draw(dataset, **changes):
    asked = {
        "seed": 0,
        "queries_per_class": 4,
        "labeled_per_class": 5,
        "database": "rest",
        "validation_per_class": 0,
        "validation_from": "unlabeled",
    }
    return by_class.draw(dataset, **{**asked, **changes})


def per_class(dataset, ids):
    return np.bincount(dataset.labels[ids], minlength=len(dataset.class_names)).tolist()


CIFAR_LIKE = make_dataset([6000] * 10, test_per_class=1000)
SMALL = make_dataset([20, 25, 30], test_per_class=3)


@pytest.mark.parametrize("name", by_class.PROTOCOLS)
def test_named_protocols_give_their_counts(name):
    queries, labeled, database = by_class.PROTOCOLS[name]
    data = CIFAR_LIKE
    if name.startswith("2100"):  # NUS-WIDE-21 in size: 195,834 images
        data = make_dataset([9326] * 9 + [9325] * 12)
    split = draw(data, queries_per_class=queries, labeled_per_class=labeled, database=database)
    assert split.protocol == name


@pytest.mark.parametrize(
    "changes, protocol",
    [
        ({"queries_per_class": 100, "labeled_per_class": 500}, "1000/5000/59000"),
        (
            {"queries_per_class": 100, "labeled_per_class": 500, "database": "unlabeled"},
            "1000/5000/54000",
        ),
        ({"queries_per_class": 0, "labeled_per_class": 500}, "10000/5000/50000"),
        ({"queries_per_class": 0, "labeled_per_class": 0}, "10000/50000/50000"),
        ({"queries_per_class": 1000, "labeled_per_class": 0}, "10000/50000/50000"),
    ],
)
def test_published_protocols(changes, protocol):
    split = draw(CIFAR_LIKE, **changes)
    queries, labeled, database = (int(count) for count in protocol.split("/"))
    assert split.protocol == protocol
    counts = [len(split.query), len(split.labeled), len(split.database), len(split.unlabeled)]
    assert counts == [queries, labeled, database, 60000 - queries - labeled]
    assert per_class(CIFAR_LIKE, split.query) == [queries // 10] * 10
    assert per_class(CIFAR_LIKE, split.labeled) == [labeled // 10] * 10


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    queries=st.integers(0, 4),
    labeled=st.integers(0, 6),
    database=st.sampled_from(["rest", "unlabeled"]),
    held=st.integers(0, 5),
    held_from=st.sampled_from(["unlabeled", "labeled"]),
)
def test_definition(seed, queries, labeled, database, held, held_from):
    """Every field against plain set algebra; 3 test items a class in SMALL."""
    asked = {
        "seed": seed,
        "queries_per_class": queries,
        "labeled_per_class": labeled,
        "database": database,
        "validation_per_class": held,
        "validation_from": held_from,
    }
    refused = (
        (held and held_from == "unlabeled" and labeled == 0)
        or (held_from == "labeled" and 0 < labeled <= held)
        or (database == "unlabeled" and labeled == 0)
    )
    if refused:
        with pytest.raises(UserError):
            by_class.draw(SMALL, **asked)
        return
    split = by_class.draw(SMALL, **asked)
    everything = set(range(75))
    query, train, unlabeled, validation, searched = (
        set(getattr(split, field).tolist()) for field in ID_FIELDS
    )
    assert len(query | train | unlabeled | validation) == sum(
        map(len, (query, train, unlabeled, validation))
    )
    # Nothing is lost: each item has exactly one of the four parts.
    assert query | train | unlabeled | validation == everything
    if queries == 0:
        assert query == set(np.flatnonzero(SMALL.is_test).tolist())
    assert per_class(SMALL, split.query) == [queries or 3] * 3
    assert per_class(SMALL, split.validation) == [held] * 3
    drawn = train | validation if held_from == "labeled" else train
    expected = [labeled] * 3 if labeled else [size - (queries or 3) for size in (20, 25, 30)]
    assert per_class(SMALL, sorted(drawn)) == expected
    assert searched == everything - query - (drawn if database == "unlabeled" else set())
    assert split.protocol == f"{len(query)}/{len(drawn)}/{len(searched)}"
    for field in ID_FIELDS:
        ids = getattr(split, field)
        assert ids.dtype == np.int64 and np.all(np.diff(ids) > 0) and not ids.flags.writeable
    assert (split.dataset, split.version, split.seed) == ("made", "1", seed)


def test_queries_depend_on_the_seed_and_their_own_count_alone():
    first = draw(SMALL)
    for changes in (
        {"labeled_per_class": 2},
        {"labeled_per_class": 0},
        {"database": "unlabeled"},
        {"validation_per_class": 3},
        {"validation_per_class": 3, "validation_from": "labeled"},
    ):
        assert np.array_equal(draw(SMALL, **changes).query, first.query)
    assert not np.array_equal(draw(SMALL, seed=1).query, first.query)
    assert not np.array_equal(draw(SMALL, seed=1).labeled, first.labeled)


@pytest.mark.parametrize("queries", [0, 4])
@pytest.mark.parametrize("held, held_from", [(0, "unlabeled"), (2, "unlabeled"), (2, "labeled")])
def test_labeled_sets_are_nested(queries, held, held_from):
    settings_ = {
        "queries_per_class": queries,
        "validation_per_class": held,
        "validation_from": held_from,
    }
    drawn = [draw(SMALL, labeled_per_class=count, **settings_) for count in (3, 5, 10)]
    for fewer, more in zip(drawn, drawn[1:], strict=False):
        assert set(fewer.labeled) < set(more.labeled)
        assert np.array_equal(fewer.validation, more.validation)


def test_validation_moves_no_labeled_image():
    without = draw(SMALL)
    from_unlabeled = draw(SMALL, validation_per_class=3)
    from_labeled = draw(SMALL, validation_per_class=3, validation_from="labeled")
    assert np.array_equal(from_unlabeled.labeled, without.labeled)
    both = np.concatenate([from_labeled.labeled, from_labeled.validation])
    assert np.array_equal(np.sort(both), without.labeled)
    assert np.array_equal(from_labeled.unlabeled, without.unlabeled)


def test_draw_is_shuffled():
    """Not the first ids of each class; chance would do that about once in 10**11 draws."""
    split = draw(CIFAR_LIKE)
    of_class = np.flatnonzero(CIFAR_LIKE.labels == 0)
    assert not set(of_class[:4]) <= set(split.query)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"queries_per_class": 16}, r"'c0' of made has 20 items.*lower queries_per_class"),
        ({"queries_per_class": 20}, r"'c0' of made has 20 items.*lower queries_per_class"),
        ({"queries_per_class": 99}, r"'c0' of made has 20 items.*lower queries_per_class"),
        ({"labeled_per_class": 17}, r"'c0' of made has 20 items.*lower labeled_per_class"),
        ({"validation_per_class": 12}, r"'c0' of made has 20.*lower validation_per_class"),
        (
            {"queries_per_class": 0, "labeled_per_class": 18},
            r"'c0' of made has 20 items, 3 of them test items.*lower labeled_per_class",
        ),
        ({"queries_per_class": -2}, "queries_per_class is -2.* -1 for a share"),
        ({"labeled_per_class": -1}, "labeled_per_class is -1"),
        ({"validation_per_class": -2}, "validation_per_class is -2.* -1 for a share"),
        ({"seed": -1}, "seed is -1"),
        ({"database": "all"}, "'all'.*rest, unlabeled"),
        ({"validation_from": "test"}, "'test'.*unlabeled, labeled"),
        ({"labeled_per_class": 0, "database": "unlabeled"}, "empty"),
        ({"labeled_per_class": 0, "validation_per_class": 1}, "labels them all"),
        ({"validation_per_class": 5, "validation_from": "labeled"}, "lower validation_per_class"),
    ],
)
def test_mistakes_are_reported(changes, message):
    with pytest.raises(UserError, match=message):
        draw(SMALL, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"queries_per_class": 15},
        {"labeled_per_class": 16},
        {"validation_per_class": 11},
        {"queries_per_class": 19, "labeled_per_class": 0},
        {"labeled_per_class": 0, "validation_per_class": 15, "validation_from": "labeled"},
    ],
)
def test_the_largest_counts_that_fit(changes):
    assert len(draw(SMALL, **changes).labeled) >= 3


def test_official_queries_need_test_items():
    with pytest.raises(UserError, match="made has no official test items"):
        draw(make_dataset([10, 10]), queries_per_class=0)


def test_a_class_too_small_is_named():
    with pytest.raises(UserError, match="'c1' of made has 8 items"):
        draw(make_dataset([10, 8, 10]))


def test_a_class_without_items_is_named():
    with pytest.raises(UserError, match="'c1' of made has no items: remove the class"):
        draw(make_dataset([10, 0, 10]))


def hand_made(**changes):
    fields = {
        "protocol": "1/2/3",
        "dataset": "made",
        "version": "1",
        "seed": 7,
        "query": [4],
        "labeled": [0, 2],
        "unlabeled": [1],
        "validation": [],
        "database": [0, 1, 2],
    }
    return Split(**{**fields, **changes})


def test_checksum_by_hand():
    text = b'["1/2/3", "made", "1", 7]'

    def ids(*values):
        return b"".join(value.to_bytes(8, "little") for value in values)

    text += b"\nquery 1\n" + ids(4) + b"\nlabeled 2\n" + ids(0, 2) + b"\nunlabeled 1\n" + ids(1)
    text += b"\nvalidation 0\n" + b"\ndatabase 3\n" + ids(0, 1, 2)
    assert hand_made().checksum == hashlib.sha256(text).hexdigest()


def test_checksum_sees_every_field():
    changed = [
        {"protocol": "1/2/4"},
        {"dataset": "other"},
        {"version": "2"},
        {"seed": 8},
        {"query": [5]},
        {"labeled": [0, 3]},
        {"unlabeled": [3]},
        {"validation": [9]},
        {"database": [0, 1, 3]},
        {"unlabeled": [], "validation": [1]},
    ]
    checksums = {hand_made(**change).checksum for change in [{}, *changed]}
    assert len(checksums) == 11
    assert hand_made(labeled=[2, 0]).checksum == hand_made().checksum


def test_two_draws_agree_and_seeds_differ():
    assert draw(SMALL).checksum == draw(SMALL).checksum
    assert len({draw(SMALL, seed=seed).checksum for seed in range(20)}) == 20


def test_the_split_of_digits_has_not_changed():
    """A changed draw would make old scores incomparable: whoever changes it must mean to."""
    split = draw(sources.load("digits"), queries_per_class=10, labeled_per_class=20)
    assert split.protocol == "100/200/1697"
    assert split.checksum == "3e11e295a35d23b8cda6b813ac166475964ad9701e131334f0d8b88b4bca0e50"


@pytest.mark.parametrize(
    "counts, database, held_from, protocol, checksum",
    [
        ((10, 20, 20), "rest", "unlabeled", "100/200/1697", "6d4ba97aeb09d59f125fe53e9a6398a1"),
        ((10, 5, 2), "unlabeled", "labeled", "100/50/1647", "6874c8ebe98a22dea34b9c8761aa5203"),
        ((3, 0, 5), "rest", "labeled", "30/1767/1767", "c98b45681aec26e391dc930d2892307335c15c1c"),
    ],
)
def test_splits_with_validation_have_not_changed(
    counts, database, held_from, protocol, checksum
):
    split = by_class.draw(
        sources.load("digits"), seed=7, queries_per_class=counts[0], labeled_per_class=counts[1],
        validation_per_class=counts[2], database=database, validation_from=held_from,
    )  # fmt: skip
    assert split.protocol == protocol and split.checksum.startswith(checksum)


def test_save_and_load(tmp_path):
    split = draw(SMALL, validation_per_class=2)
    path = tmp_path / "new" / "split.json"
    save_split(split, path)
    again = load_split(path)
    for field in ID_FIELDS:
        assert np.array_equal(getattr(again, field), getattr(split, field))
    assert (again.protocol, again.dataset, again.version, again.seed) == (
        split.protocol, split.dataset, split.version, split.seed
    )
    assert again.checksum == split.checksum
    assert [file.name for file in path.parent.iterdir()] == ["split.json"]


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "split.json"
    save_split(draw(SMALL), path)

    def fail(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError, match="No space left"):
        save_split(draw(SMALL, seed=1), path)
    assert load_split(path).seed == 0
    assert [file.name for file in tmp_path.iterdir()] == ["split.json"]


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "split.json"
    save_split(hand_made(), path)
    whole = path.read_text().rstrip("\n")
    for length in range(len(whole)):
        path.write_text(whole[:length])
        with pytest.raises(UserError, match="split.json"):
            load_split(path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content["query"].append(3),
        lambda content: content["labeled"].pop(),
        lambda content: content.update(seed=8),
        lambda content: content.update(protocol="1/2/2"),
        lambda content: content.update(checksum="0" * 64),
        lambda content: content.update(query=[0.5]),
        lambda content: content.update(query=["x"]),
        lambda content: content.update(query=[[4]]),
        lambda content: content.update(query={"4": 4}),
        lambda content: content.update(query=[2**70]),
        lambda content: content.update(extra=1),
        lambda content: content.pop("checksum"),
        lambda content: content.pop("database"),
        lambda content: content.clear(),
    ],
)
def test_tampering_is_refused(tmp_path, edit):
    path = tmp_path / "split.json"
    save_split(hand_made(), path)
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="split.json"):
        load_split(path)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"', "", "\x00", "not json"])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(UserError, match="split.json"):
        load_split(path)


def test_missing_file_and_directory_are_named(tmp_path):
    with pytest.raises(UserError, match="none.json"):
        load_split(tmp_path / "none.json")
    with pytest.raises(UserError, match=tmp_path.name):
        load_split(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        save_split(hand_made(), tmp_path / "file" / "split.json")


def test_a_split_file_is_for_its_own_data(tmp_path):
    path = tmp_path / "split.json"
    split = draw(SMALL)
    save_split(split, path)
    assert load_split_for(SMALL, path).checksum == split.checksum
    with pytest.raises(UserError, match="divides made 1, but the data is other 1"):
        load_split_for(make_dataset([20, 25, 30], name="other"), path)
    with pytest.raises(UserError, match="beyond the 15 items"):
        load_split_for(make_dataset([5, 5, 5]), path)
