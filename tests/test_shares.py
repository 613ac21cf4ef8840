"""Queries and validation items as shares of classes: by hand, by properties, and what is said."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsh_jax.data.splits import shares
from dsh_jax.data.splits.remarks import split_remarks
from dsh_jax.errors import UserError
from tests.test_multi_label import make_dataset as make_multi
from tests.test_splits import draw, make_dataset, per_class

AUTO = {"queries_per_class": -1, "labeled_per_class": 0, "validation_per_class": -1,
        "validation_from": "labeled"}  # fmt: skip


@pytest.mark.parametrize(
    ("size", "queries", "validation"),
    [(0, 0, 0), (4, 0, 0), (5, 1, 2), (14, 1, 2), (16, 2, 2), (30, 3, 3), (26, 3, 3),
     (999, 100, 100), (6000, 100, 100)],
)  # fmt: skip
def test_shares_by_hand(size, queries, validation):
    assert shares.num_queries(np.array([size])).tolist() == [queries]
    assert shares.num_validation(np.array([size])).tolist() == [validation]


def test_thirty_labels_of_a_class_leave_most_to_learn_from():
    data = make_dataset([30, 200, 4, 5, 6])
    split = draw(data, **AUTO)
    assert per_class(data, split.query) == [3, 20, 0, 1, 1]
    assert per_class(data, split.validation) == [3, 18, 0, 0, 2]
    assert per_class(data, split.labeled) == [24, 162, 4, 4, 3]
    assert per_class(data, split.database) == [27, 180, 4, 4, 5]
    assert split.protocol == "25/220/220"


def remarks(data, split, given=False, **changes):
    asked = {name: AUTO[name] for name in ("queries_per_class", "validation_per_class")} | changes
    return split_remarks(data, split, given=given, **asked)


def test_what_is_said_of_sizes_and_of_small_classes():
    data = make_dataset([30, 200, 4, 5, 6])
    assert remarks(data, draw(data, **AUTO)) == [
        "queries     25: a tenth of each class (at least 1, at most 100), here 1 to 20; "
        "data.queries_per_class sets a number instead",
        "warning     no query of 'c2' (4 labeled): fewer than 5 to draw from; trained on and in "
        "the database, but not measured",
        "validation  23: a tenth of each class (at least 2, at most 100), here 2 to 18; "
        "data.validation_per_class sets a number instead",
        "warning     no validation item of 'c2' (4 labeled), 'c3' (4 labeled): fewer than 5 to "
        "draw from; not regarded when the checkpoint is chosen",
    ]
    split = draw(data, **AUTO | {"queries_per_class": 1, "validation_per_class": 2})
    assert remarks(data, split, queries_per_class=1, validation_per_class=2) == []
    data = make_dataset([20] + [3] * 7)
    assert "'c5' (3 labeled) and 2 more: fewer" in remarks(data, draw(data, **AUTO))[1]


def test_test_images_are_the_queries_where_there_are_some():
    data = make_dataset([30, 8], test_per_class=3)
    split = draw(data, **AUTO)
    assert np.array_equal(split.query, np.flatnonzero(data.is_test))
    assert per_class(data, split.validation) == [3, 2]
    assert remarks(data, split)[0] == "queries     6: the test items"
    # A number asks for other queries, from all images.
    assert len(draw(data, **AUTO | {"queries_per_class": 1}).query) == 2


def test_validation_images_of_the_data_itself():
    data = make_dataset([30, 20])
    held = np.zeros(50, bool)
    held[[3, 4, 5]] = True
    split = draw(data, **AUTO, validation=held)
    assert split.validation.tolist() == [3, 4, 5]
    assert not set(split.query) & {3, 4, 5} and {3, 4, 5} <= set(split.database)
    assert len(split.labeled) == 50 - 5 - 3
    assert remarks(data, split, given=True)[1] == "validation  3: the data's own validation items"
    assert len(draw(data, **AUTO | {"validation_per_class": 2}, validation=held).validation) == 4


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_every_class_keeps_most_of_its_images(sizes, seed):
    data = make_dataset(sizes)
    if max(sizes) < 5:
        with pytest.raises(UserError, match="No class of made has the 5 labeled items"):
            draw(data, **AUTO, seed=seed)
        return
    if max(sizes) == 5:
        with pytest.raises(UserError, match="validation needs, the largest has 4.*per_class=2"):
            draw(data, **AUTO, seed=seed)
        return
    split = draw(data, **AUTO, seed=seed)
    labeled = per_class(data, split.labeled)
    assert all(2 * left >= size for left, size in zip(labeled, sizes, strict=True))
    everything = np.sort(np.concatenate([split.query, split.labeled, split.validation]))
    assert everything.tolist() == list(range(len(data)))


def test_several_labels_give_a_tenth_of_the_images_not_of_the_labels():
    rng = np.random.default_rng(0)
    labels = (rng.random((300, 6)) < 0.4).astype(np.uint8)
    labels[:, 5] = 0
    labels[:3, 5] = 1  # a class too small: none of its images may be drawn for another one
    data = make_multi(labels)
    split = draw(data, **AUTO)
    of_class = labels.sum(axis=0)
    drawn = labels[split.query].sum(axis=0)
    assert len(split.query) < 0.15 * labels.any(axis=1).sum()
    assert (drawn[:5] >= np.rint(0.1 * of_class[:5])).all() and drawn[5] == 0
    assert labels[split.labeled][:, 5].sum() == 3


def test_a_fixed_number_still_means_what_it_says():
    data = make_dataset([30, 8])
    with pytest.raises(UserError, match="'c1' of made has 8 items, too few for queries_per_class="
                       "10 .* or set it to -1 for a share of each class"):  # fmt: skip
        draw(data, **AUTO | {"queries_per_class": 10})
