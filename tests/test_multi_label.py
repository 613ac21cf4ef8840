"""Items with several labels, or none, from splits to measures: plain loops and properties."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from configs import multi_digits_24bit, smoke
from dsh_jax.data import batches
from dsh_jax.data.images import built_in
from dsh_jax.data.images.dataset import ImageDataset
from dsh_jax.data.splits import by_class
from dsh_jax.data.splits.split import ID_FIELDS, Split
from dsh_jax.encoder import load_encoder
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.rng import stream_rng
from dsh_jax.training.loop import train

CLASSES = 4


def make_dataset(labels, is_test=None):
    """An image shows its own id, so that the pixels show what was gathered."""
    labels = np.asarray(labels, np.uint8)
    images = np.arange(len(labels)).astype(">u2").view(np.uint8).reshape(len(labels), 1, 1, 2)
    return ImageDataset(
        name="made",
        version="1",
        images=images,
        labels=labels,
        is_test=np.zeros(len(labels), bool) if is_test is None else np.asarray(is_test),
        class_names=tuple(f"c{label}" for label in range(labels.shape[1])),
    )


def ids_of(images):
    return images.astype(int)[:, 0, 0] @ [256, 1]


def random_labels(n, seed=0, share=0.35):
    return np.random.default_rng(seed).random((n, CLASSES)) < share


def draw(dataset, **changes):
    asked = {
        "seed": 0,
        "queries_per_class": 3,
        "labeled_per_class": 4,
        "database": "rest",
        "validation_per_class": 0,
        "validation_from": "unlabeled",
    }
    return by_class.draw(dataset, **{**asked, **changes})


def sets(split):
    return {field: set(getattr(split, field).tolist()) for field in ID_FIELDS}


# Splits.


def having(dataset, label):
    return [item for item in range(len(dataset)) if dataset.labels[item, label]]


def slow_draw(
    dataset, *, seed, queries_per_class, labeled_per_class, database, validation_per_class,
    validation_from,
):  # fmt: skip
    """The rules of `by_class.draw`, an item at a time; None where a class has too few."""
    n = len(dataset)
    labeled_at_all = {i for c in range(CLASSES) for i in having(dataset, c)}

    def take(orders, count, may_take):
        taken = []
        for order in orders:
            mine = [item for item in order if item in may_take and item not in taken][:count]
            if len(mine) < count < n:
                return None
            taken += mine
        return set(taken)

    def orders(stream, among):
        return [
            stream_rng(seed, stream, c).permutation([i for i in having(dataset, c) if i in among])
            for c in range(CLASSES)
        ]

    if queries_per_class:
        everything = set(range(n))
        query = take(orders("split/query", everything), queries_per_class, everything)
        if query is None:
            return None
        train = everything - query
    else:
        query = {i for i in labeled_at_all if dataset.is_test[i]}
        train = {i for i in range(n) if not dataset.is_test[i]}
    lists = orders("split/labeled", train)
    labeled = take(lists, labeled_per_class or n, train)
    if labeled is None:
        return None
    if validation_from == "labeled":
        held = take(lists, validation_per_class, labeled)
    else:
        held = take([list(reversed(x)) for x in lists], validation_per_class, train - labeled)
    if held is None or not all(set(having(dataset, c)) & (labeled - held) for c in range(CLASSES)):
        return None
    return {
        "query": query,
        "labeled": labeled - held,
        "unlabeled": train - labeled - held,
        "validation": held,
        "database": labeled_at_all - query - (labeled if database == "unlabeled" else set()),
    }


ASKED = {
    "seed": st.integers(0, 2**40),
    "queries_per_class": st.integers(0, 4),
    "labeled_per_class": st.integers(0, 6),
    "database": st.sampled_from(["rest", "unlabeled"]),
    "validation_per_class": st.integers(0, 3),
    "validation_from": st.sampled_from(["unlabeled", "labeled"]),
}


@settings(max_examples=200, deadline=None)
@given(
    labels=hnp.arrays(np.uint8, st.tuples(st.integers(15, 70), st.just(CLASSES)),
                      elements=st.sampled_from([0, 0, 1])),
    asked=st.fixed_dictionaries(ASKED),
)  # fmt: skip
def test_draw_is_its_rules(labels, asked):
    """Every field against sets, or an error where these have too few."""
    dataset = make_dataset(labels, is_test=np.arange(len(labels)) % 5 == 0)
    try:
        split = by_class.draw(dataset, **asked)
    except UserError:
        split = None
    wanted = slow_draw(dataset, **asked)
    refused = (
        (asked["validation_per_class"] and asked["validation_from"] == "unlabeled"
         and asked["labeled_per_class"] == 0)
        or (asked["validation_from"] == "labeled"
            and 0 < asked["labeled_per_class"] <= asked["validation_per_class"])
        or (wanted is not None and not (wanted["query"] and wanted["database"]))
    )  # fmt: skip
    if split is None or refused or wanted is None:
        assert split is None and (refused or wanted is None)
    else:
        assert sets(split) == wanted


@settings(max_examples=60, deadline=None)
@given(data_seed=st.integers(0, 10**6), asked=st.fixed_dictionaries(ASKED))
def test_roles_share_no_item_and_each_class_has_its_number(data_seed, asked):
    dataset = make_dataset(random_labels(200, data_seed), is_test=np.arange(200) < 40)
    try:
        split = by_class.draw(dataset, **asked)
    except UserError:
        return
    roles = sets(split)
    database = roles.pop("database")
    assert len(set.union(*roles.values())) == sum(map(len, roles.values()))
    has_label = dataset.labels.any(axis=1)
    for role in ("query", "labeled", "validation"):
        assert has_label[getattr(split, role)].all()
    assert has_label[split.database].all() and not database & roles["query"]
    # Training may see what has no label, and every train item has a role.
    bare = set(np.flatnonzero(~has_label & (~dataset.is_test | bool(asked["queries_per_class"]))))
    assert bare <= roles["unlabeled"]
    assert len(set.union(*roles.values())) == 200 - (
        0 if asked["queries_per_class"] else int((~has_label & dataset.is_test).sum())
    )
    drawn = roles["labeled"]
    if asked["validation_from"] == "labeled":
        drawn = drawn | roles["validation"]
    for ids, count in (
        (roles["query"], asked["queries_per_class"]),
        (drawn, asked["labeled_per_class"]),
        (roles["validation"], asked["validation_per_class"]),
    ):
        assert (dataset.labels[sorted(ids)].sum(axis=0) >= count).all()
        if count:
            assert len(ids) == count * CLASSES
    assert split.protocol == f"{len(roles['query'])}/{len(drawn)}/{len(database)}"


def test_nus_wide_protocol_gives_its_counts():
    """21 concepts, from rare to frequent, over as many images as have one of them."""
    rng = np.random.default_rng(0)
    labels = rng.random((195834, 21)) < np.geomspace(0.02, 0.3, 21)[rng.permutation(21)]
    labels[np.arange(len(labels)), rng.integers(0, 21, len(labels))] = True
    queries, labeled, database = by_class.PROTOCOLS["2100/10500/193734"]
    split = draw(make_dataset(labels), queries_per_class=queries, labeled_per_class=labeled,
                 database=database, validation_per_class=100)  # fmt: skip
    assert split.protocol == "2100/10500/193734"
    assert len(split.validation) == 2100
    assert set(split.labeled) | set(split.unlabeled) | set(split.validation) == set(split.database)


def test_labeled_sets_are_nested_and_queries_stay():
    dataset = make_dataset(random_labels(200))
    drawn = [draw(dataset, labeled_per_class=count) for count in (2, 5, 6, 12)]
    for fewer, more in zip(drawn, drawn[1:], strict=False):
        assert set(fewer.labeled) < set(more.labeled)
        assert np.array_equal(fewer.query, more.query)
    held = draw(dataset, labeled_per_class=5, validation_per_class=4)
    assert np.array_equal(held.labeled, drawn[1].labeled)


def test_two_draws_agree_and_seeds_differ():
    dataset = make_dataset(random_labels(200))
    assert draw(dataset).checksum == draw(dataset).checksum
    assert len({draw(dataset, seed=seed).checksum for seed in range(20)}) == 20


def test_a_multi_label_split_has_not_changed():
    i = np.arange(300)
    labels = np.stack([i % 2, i % 3 == 0, i % 5 < 2, i % 7 == 1], axis=1)
    split = draw(make_dataset(labels), validation_per_class=5)
    assert split.protocol == "12/16/237"
    assert split.checksum == (
        "2fbdf883bd0584b6574cca94eacaa27d888cd9623974f90a5d66cd187352bab7"
    )


def test_one_hot_labels_give_the_split_of_class_ids():
    ids = np.random.default_rng(3).integers(0, CLASSES, 90)
    hot = make_dataset(np.eye(CLASSES)[ids])
    single = ImageDataset(name="made", version="1", images=hot.images, labels=ids.astype(np.int32),
                          is_test=hot.is_test, class_names=hot.class_names)  # fmt: skip
    for changes in ({}, {"validation_per_class": 2}, {"labeled_per_class": 0},
                    {"validation_per_class": 2, "validation_from": "labeled"}):  # fmt: skip
        assert draw(hot, **changes).checksum == draw(single, **changes).checksum


def nested_labels():
    """Whatever has c2 has c0 and c1 as well."""
    i = np.arange(40)
    return np.stack([i < 20, (i < 8) | (i >= 20), i < 8, i >= 20], axis=1)


@pytest.mark.parametrize(
    "labels, changes, message",
    [
        (random_labels(60) * [1, 1, 0, 1], {}, "'c2' of made has no items: remove the class"),
        (random_labels(60), {"queries_per_class": 61}, "'c0' of made has .* lower queries_per"),
        (nested_labels(), {"labeled_per_class": 12},
         r"'c2' of made has 8 items, \d of them drawn for other classes, too few for "
         "queries_per_class=3, labeled_per_class=12 .*lower labeled_per_class"),
        (random_labels(60), {"queries_per_class": 0}, "no official test items with a label"),
    ],
)  # fmt: skip
def test_mistakes_are_reported(labels, changes, message):
    with pytest.raises(UserError, match=message):
        draw(make_dataset(labels), **changes)


def test_test_items_without_labels_are_no_queries():
    labels = random_labels(60)
    with pytest.raises(UserError, match="no official test items with a label"):
        draw(make_dataset(labels, is_test=~labels.any(axis=1)), queries_per_class=0)


# Real triplets.

LABELS = np.array(
    [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 1, 0], [1, 1, 1, 1],
     [0, 0, 0, 1], [0, 0, 0, 0]]
)  # fmt: skip


def make_split(labeled, n=8):
    return Split(
        protocol="0/0/0", dataset="made", version="1", seed=0, query=np.array([], int),
        labeled=labeled, unlabeled=np.array([], int), validation=np.array([], int),
        database=np.arange(n),
    )  # fmt: skip


def slow_choices(labels, labeled, anchor):
    """All (positives, negatives) that an anchor may have."""
    others = [item for item in labeled if item != anchor]
    shared = {item: int((labels[item] * labels[anchor]).sum()) for item in others}
    positives = [item for item in others if shared[item]] or [anchor]
    return positives, [item for item in others if shared[item] == min(shared.values())]


def test_triplets_are_uniform_over_what_they_may_be():
    """Every allowed pair at its share, none else; item 5 shares a label with every other."""
    dataset, labeled = make_dataset(LABELS), [0, 1, 2, 3, 4, 5]
    spec = batches.BatchSpec(300, 0, True, 0)
    anchors, positives, negatives = Counter(), Counter(), Counter()
    for step in range(20):
        batch = batches.make_batch(dataset, make_split(labeled), spec, step)
        positive, negative = ids_of(batch["positive_image"]), ids_of(batch["negative_image"])
        for name, ids in (("label", batch["id"]), ("positive_label", positive),
                          ("negative_label", negative)):  # fmt: skip
            assert batch[name].dtype == np.float32
            assert np.array_equal(batch[name], LABELS[ids])
        anchors.update(batch["id"].tolist())
        positives.update(zip(batch["id"].tolist(), positive.tolist(), strict=True))
        negatives.update(zip(batch["id"].tolist(), negative.tolist(), strict=True))
    allowed = {anchor: slow_choices(LABELS, labeled, anchor) for anchor in labeled}
    assert sorted(allowed[5][1]) == [0, 2, 3]  # those that share one label and not two
    for seen, role in ((positives, 0), (negatives, 1)):
        wanted = {(a, item): len(choice[role]) for a, choice in allowed.items()
                  for item in choice[role]}  # fmt: skip
        assert seen.keys() == wanted.keys()
        for pair, count in wanted.items():
            # 1000 draws an anchor: 6 standard deviations of a binomial at most.
            assert abs(seen[pair] / anchors[pair[0]] - 1 / count) < 6 * 0.5 / 1000**0.5


@settings(max_examples=60, deadline=None)
@given(data_seed=st.integers(0, 10**6), n=st.integers(6, 40), step=st.integers(0, 10**6))
def test_positives_share_a_label_and_negatives_none(data_seed, n, step):
    labels = random_labels(n, data_seed).astype(int)
    labels[:2] = [[1, 0, 0, 0], [0, 1, 0, 0]]
    labeled = np.flatnonzero(labels.any(axis=1))[::2]
    labeled = np.union1d(labeled, [0, 1])
    spec = batches.BatchSpec(16, 0, True, 0)
    split, dataset = make_split(labeled, n), make_dataset(labels)
    batch = batches.make_batch(dataset, split, spec, step)
    for anchor, positive, negative in zip(
        batch["id"], ids_of(batch["positive_image"]), ids_of(batch["negative_image"]), strict=True
    ):
        choices = slow_choices(labels, labeled, anchor)
        assert positive in choices[0] and negative in choices[1] and negative != anchor
        assert labels[positive] @ labels[anchor]  # itself, if need be
        disjoint = any(not labels[item] @ labels[anchor] for item in labeled)
        assert bool(labels[negative] @ labels[anchor]) == (not disjoint)
    again = batches.make_batch(dataset, split, spec, step)
    assert all(np.array_equal(batch[name], again[name]) for name in batch)


def test_an_image_that_shares_no_label_is_its_own_positive():
    batch = batches.make_batch(
        make_dataset(LABELS), make_split([0, 2, 3, 6]), batches.BatchSpec(8, 0, True, 0), 0
    )
    assert np.array_equal(ids_of(batch["positive_image"]), batch["id"])
    assert not (ids_of(batch["negative_image"]) == batch["id"]).any()


def test_triplets_need_two_classes():
    spec = batches.BatchSpec(4, 0, True, 0)
    with pytest.raises(UserError, match="two classes or more"):
        batches.make_batch(make_dataset(LABELS[[0, 0, 0]]), make_split([0, 1, 2], 3), spec, 0)


# Synthetic triplets: labels of negatives, drawn on the devices.

PROGRAM = """
import jax, numpy as np
from configs import smoke
from signatures import build_for_images
from dsh_jax.devices import compile_encode, pick_devices, shard

config = smoke.get_config()
config.loss.labels = "multi"
config.anchor_every = 2
synthesis = build_for_images(config, (8, 8, 1), 6).stages[0].step.__self__.steps.synthesis
label = (np.random.default_rng(0).random((8, 6)) < 0.35).astype(np.float32)
batch = {"label": label, "position": np.arange(8, dtype=np.int32)}
for count in (1, 2):
    devices = pick_devices(count, {})
    draw = compile_encode(lambda key, batch: synthesis.negative_labels(batch, key), devices)
    keys = jax.numpy.stack([jax.random.key(5)] * count)
    drawn = np.asarray(draw(keys, shard(batch, devices))).reshape(-1, 6)
    assert not (drawn * label[::2]).any()
    print(drawn.astype(int).tolist())
"""


def test_negatives_labels_do_not_depend_on_the_number_of_devices():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": "tests"},
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    one, two = done.stdout.splitlines()
    assert one == two


# From images to measures.


def test_several_labels_from_end_to_end(tmp_path):
    config = smoke.shrink(multi_digits_24bit.get_config())
    config.update(pretraining_steps=0, num_steps=2)
    train(config, tmp_path, {"command": "test"})
    result = evaluate_workdir(tmp_path)
    assert result["protocol"] == "1000/1000/6000"
    assert load_encoder(tmp_path).signature.labels == "multi"
    assert 0 < result["ndcg_at_100"] < 1 and 0.6 < result["map"] < 1
    with np.load(tmp_path / "codes.npz") as codes:
        wanted = built_in.load("multi_digits").labels[codes["query_ids"]]
        np.testing.assert_array_equal(codes["query_labels"], wanted)
