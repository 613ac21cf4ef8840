"""Batches: coverage and resumption as properties, triplets against plain loops, no lost thread."""

import threading
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsh_jax.data import batches
from dsh_jax.data.images.dataset import ImageDataset
from dsh_jax.data.prefetch import prefetch
from dsh_jax.data.splits.split import Split
from dsh_jax.errors import UserError

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 3, 3, 3, 3], np.int32)
# Every image shows its own id, so that the pixels show what was gathered.
DATASET = ImageDataset(
    name="made",
    version="1",
    images=np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1).repeat(2, axis=1),
    labels=LABELS,
    is_test=np.zeros(12, bool),
    class_names=("a", "b", "c", "d"),
)


def make_split(**changes):
    fields = {
        "protocol": "1/8/11",
        "dataset": "made",
        "version": "1",
        "seed": 0,
        "query": [3],
        "labeled": [0, 1, 2, 4, 5, 7, 8, 9],  # class c has one labeled image: 7
        "unlabeled": [6, 10, 11],
        "validation": [],
        "database": [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11],
    }
    return Split(**{**fields, **changes})


SPLIT = make_split()
SPEC = batches.BatchSpec(batch_size=5, unlabeled_batch_size=2, real_triplets=True, seed=3)


def ids_of(images):
    return images[:, 0, 0, 0].astype(int)


@given(n=st.integers(0, 50), seed=st.integers(0, 2**40), epoch=st.integers(0, 9))
def test_epoch_order_is_a_permutation(n, seed, epoch):
    order = batches.epoch_order(n, seed=seed, epoch=epoch, stream="x")
    assert sorted(order.tolist()) == list(range(n))
    assert not order.flags.writeable
    batches.epoch_order.cache_clear()
    assert np.array_equal(order, batches.epoch_order(n, seed=seed, epoch=epoch, stream="x"))


def test_epoch_orders_differ_by_seed_epoch_and_stream():
    orders = {
        tuple(batches.epoch_order(30, seed=seed, epoch=epoch, stream=stream).tolist())
        for seed in range(4)
        for epoch in range(4)
        for stream in ("labeled", "unlabeled")
    }
    assert len(orders) == 32


@settings(deadline=None)
@given(n=st.integers(1, 30), size=st.integers(1, 70), epochs=st.integers(1, 4), seed=st.integers(0))
def test_each_id_comes_once_per_epoch(n, size, epochs, seed):
    ids = np.arange(n) * 3 + 100
    steps = -(-n * epochs // size)
    walked = np.concatenate(
        [batches.batch_ids(ids, step, size, seed=seed, stream="s") for step in range(steps)]
    )
    assert len(walked) == steps * size
    for epoch in range(epochs):
        assert sorted(walked[epoch * n : (epoch + 1) * n]) == ids.tolist()
    assert Counter(walked[: epochs * n].tolist()) == dict.fromkeys(ids.tolist(), epochs)


@given(step=st.integers(0, 10**9), size=st.integers(1, 40))
def test_batch_ids_at_a_step_are_pieces_of_the_epochs(step, size):
    """Place by place, however far on; no earlier batch is drawn on the way."""
    ids = np.arange(7) + 50
    drawn = batches.batch_ids(ids, step, size, seed=1, stream="s")
    expected = []
    for position in range(step * size, (step + 1) * size):
        order = batches.epoch_order(7, seed=1, epoch=position // 7, stream="s")
        expected.append(50 + order[position % 7])
    assert drawn.tolist() == expected


@pytest.mark.parametrize("count, step, size", [(0, 0, 1), (3, -1, 1), (3, 0, 0)])
def test_impossible_batches_are_refused(count, step, size):
    with pytest.raises(ValueError, match=f"{count} ids, step {step}, batch size {size}"):
        batches.batch_ids(np.arange(count), step, size, seed=0, stream="s")


def test_make_batch_fields():
    for step in range(20):
        batch = batches.make_batch(DATASET, SPLIT, SPEC, step)
        ids = batch["id"]
        assert ids.dtype == np.int32 and set(ids) <= set(SPLIT.labeled)
        assert batch["image"].dtype == np.uint8 and batch["image"].shape == (5, 2, 1, 1)
        assert np.array_equal(ids_of(batch["image"]), ids)
        assert batch["label"].dtype == np.float32 and batch["label"].shape == (5, 4)
        for row, item in zip(batch["label"], ids, strict=True):
            assert row.tolist() == [float(LABELS[item] == c) for c in range(4)]
        assert batch["position"].tolist() == [0, 1, 2, 3, 4]
        assert batch["unlabeled_position"].tolist() == [5, 6]
        assert batch["position"].dtype == batch["unlabeled_position"].dtype == np.int32
        assert batch["unlabeled_image"].shape == (2, 2, 1, 1)
        assert set(ids_of(batch["unlabeled_image"])) <= {6, 10, 11}


def test_make_batch_keys_follow_the_spec():
    plain = {"image", "label", "id", "position"}
    unlabeled = {"unlabeled_image", "unlabeled_position"}
    triplets = {"positive_image", "positive_label", "negative_image", "negative_label"}
    for unlabeled_size, real, expected in (
        (0, False, plain),
        (2, False, plain | unlabeled),
        (0, True, plain | triplets),
        (2, True, plain | unlabeled | triplets),
    ):
        spec = batches.BatchSpec(5, unlabeled_size, real, 0)
        assert set(batches.make_batch(DATASET, SPLIT, spec, 0)) == expected


def test_unlabeled_and_triplets_leave_the_labeled_images_alone():
    """So that ablations see the same labeled batches."""
    plain = batches.BatchSpec(5, 0, False, 3)
    for step in range(5):
        first = batches.make_batch(DATASET, SPLIT, SPEC, step)["id"]
        assert np.array_equal(first, batches.make_batch(DATASET, SPLIT, plain, step)["id"])


def test_resumed_batches_are_the_same():
    straight = [batches.make_batch(DATASET, SPLIT, SPEC, step) for step in range(12)]
    batches.epoch_order.cache_clear()
    for step in (11, 3, 7):
        alone = batches.make_batch(DATASET, SPLIT, SPEC, step)
        assert alone.keys() == straight[step].keys()
        for key, value in alone.items():
            assert np.array_equal(value, straight[step][key])


def test_triplets_are_uniform_over_what_they_may_be():
    """Every allowed pair at its share, none else, over many anchors."""
    labeled = {0: [0, 1, 2], 1: [4, 5], 2: [7], 3: [8, 9]}
    spec = batches.BatchSpec(200, 0, True, 0)
    positives: Counter = Counter()
    negatives: Counter = Counter()
    anchors: Counter = Counter()
    for step in range(40):
        batch = batches.make_batch(DATASET, SPLIT, spec, step)
        positive, negative = ids_of(batch["positive_image"]), ids_of(batch["negative_image"])
        assert np.array_equal(batch["positive_label"].argmax(1), LABELS[positive])
        assert np.array_equal(batch["negative_label"].argmax(1), LABELS[negative])
        assert batch["positive_label"].sum() == batch["negative_label"].sum() == 200
        anchors.update(batch["id"].tolist())
        positives.update(zip(batch["id"].tolist(), positive.tolist(), strict=True))
        negatives.update(zip(batch["id"].tolist(), negative.tolist(), strict=True))

    expected_positives, expected_negatives = {}, {}
    for own, members in labeled.items():
        for anchor in members:
            others = [item for item in members if item != anchor] or [anchor]
            for item in others:
                expected_positives[anchor, item] = 1 / len(others)
            for other, items in labeled.items():
                for item in items if other != own else []:
                    expected_negatives[anchor, item] = 1 / 3 / len(items)
    for seen, expected in ((positives, expected_positives), (negatives, expected_negatives)):
        assert seen.keys() == expected.keys()
        for pair, share in expected.items():
            # 1000 draws an anchor: 6 standard deviations of a binomial at most.
            assert abs(seen[pair] / anchors[pair[0]] - share) < 6 * 0.5 / 1000**0.5


def test_triplets_change_from_step_to_step():
    """Seen on the raw draws: one class of one image each leaves only the negatives to chance."""
    split = make_split(labeled=[0, 4, 7, 8])
    spec = batches.BatchSpec(64, 0, True, 0)
    moves = set()  # which of the other three classes, place by place, whatever the anchor
    for step in range(10):
        batch = batches.make_batch(DATASET, split, spec, step)
        own, other = LABELS[batch["id"]], batch["negative_label"].argmax(1)
        moves.add(tuple((other - (other > own)).tolist()))
    assert len(moves) == 10


def test_labeled_and_unlabeled_batches_are_shuffled_apart():
    split = make_split(labeled=[0, 1, 2, 4, 5], unlabeled=[6, 8, 9, 10, 11])
    spec = batches.BatchSpec(200, 200, False, 0)
    batch = batches.make_batch(DATASET, split, spec, 0)
    labeled = np.searchsorted(split.labeled, batch["id"])
    unlabeled = np.searchsorted(split.unlabeled, ids_of(batch["unlabeled_image"]))
    assert not np.array_equal(labeled, unlabeled)


def test_labeled_items_are_among_the_unlabeled_ones_if_asked_for():
    spec = batches.BatchSpec(4, 400, False, 0, all_as_unlabeled=True)
    for split in (make_split(), make_split(unlabeled=[])):
        batch = batches.make_batch(DATASET, split, spec, 0)
        assert {*ids_of(batch["unlabeled_image"])} == {*split.training}


def test_mistakes_are_reported():
    with pytest.raises(UserError, match="no unlabeled items: set unlabeled_batch_size to 0"):
        batches.make_batch(DATASET, make_split(unlabeled=[]), SPEC, 0)
    with pytest.raises(UserError, match="no labeled items"):
        batches.make_batch(DATASET, make_split(labeled=[]), SPEC, 0)
    with pytest.raises(UserError, match="two classes"):
        batches.make_batch(DATASET, make_split(labeled=[0, 1]), SPEC, 0)
    with pytest.raises(UserError, match="drawn from other 1"):
        batches.make_batch(DATASET, make_split(dataset="other"), SPEC, 0)
    with pytest.raises(UserError, match="drawn from made 2"):
        batches.make_batch(DATASET, make_split(version="2"), SPEC, 0)
    with pytest.raises(UserError, match="batch_size is 0"):
        batches.BatchSpec(0, 0, False, 0)
    with pytest.raises(UserError, match="unlabeled_batch_size is -1"):
        batches.BatchSpec(1, -1, False, 0)
    with pytest.raises(UserError, match="seed is -1"):
        batches.BatchSpec(1, 0, False, -1)


@given(n=st.integers(0, 40), size=st.integers(1, 50))
def test_padded_batches(n, size):
    ids = np.arange(n) * 2 + 5
    parts = list(batches.padded_batches(ids, size))
    assert all(len(batch) == size and 1 <= count <= size for batch, count in parts)
    real = [item for batch, count in parts for item in batch[:count]]
    assert real == ids.tolist()
    assert len(parts) == -(-n // size)
    for batch, count in parts:
        assert set(batch[count:]) <= {ids[-1]}


def test_padded_batches_refuses_no_size():
    with pytest.raises(ValueError, match="batch size 0"):
        list(batches.padded_batches(np.arange(3), 0))


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 20])
def test_prefetch_keeps_the_order(depth, count):
    rng = np.random.default_rng(0)

    def make(step):
        time.sleep(rng.random() / 1000)
        return step * 10

    made = list(prefetch(make, range(count), depth=depth))
    assert made == [step * 10 for step in range(count)]
    assert not threads()


def test_prefetch_works_ahead_in_another_thread_but_only_so_far():
    started, third = [], threading.Event()

    def make(step):
        started.append(threading.current_thread().name)
        if step == 3:
            third.set()
        return step

    iterator = prefetch(make, range(100), depth=2)
    assert not started
    assert next(iterator) == 0
    assert third.wait(5)  # one taken, two in the queue, one at the door
    time.sleep(0.05)
    assert started == ["prefetch"] * 4
    iterator.close()
    assert not threads()


@pytest.mark.parametrize("depth", [1, 3])
def test_prefetch_raises_what_make_raises_in_order(depth):
    def make(step):
        if step == 2:
            raise KeyError("two")
        return step

    iterator = prefetch(make, range(9), depth=depth)
    assert [next(iterator), next(iterator)] == [0, 1]
    with pytest.raises(KeyError, match="two"):
        next(iterator)
    assert not threads()


def test_prefetch_raises_what_the_steps_raise():
    def steps():
        yield 0
        raise UserError("no more")

    iterator = prefetch(lambda step: step, steps())
    assert next(iterator) == 0
    with pytest.raises(UserError, match="no more"):
        next(iterator)
    assert not threads()


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("total", [2, 3, 4, 5, 6, 1000])
@pytest.mark.parametrize("pause", [0, 0.01])
def test_prefetch_closed_early_leaves_no_thread(depth, total, pause):
    """Whatever the thread is doing at that moment: making, waiting for room, or ending."""
    iterator = prefetch(lambda step: step, range(total), depth=depth)
    assert next(iterator) == 0
    time.sleep(pause)
    closer = threading.Thread(target=iterator.close, daemon=True)
    closer.start()
    closer.join(5)
    assert not closer.is_alive() and not threads()


def test_prefetch_closed_while_make_fails_leaves_no_thread():
    entered, go_on = threading.Event(), threading.Event()

    def make(step):
        if step == 1:
            entered.set()
            go_on.wait(5)
            raise RuntimeError("too late to matter")
        return step

    iterator = prefetch(make, range(9))
    assert next(iterator) == 0
    assert entered.wait(5)
    threading.Timer(0.05, go_on.set).start()
    iterator.close()
    assert not threads()


def test_prefetch_refuses_no_depth():
    with pytest.raises(ValueError, match="depth 0"):
        next(prefetch(lambda step: step, range(3), depth=0))
