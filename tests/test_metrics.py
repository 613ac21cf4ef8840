"""Tie-exact metrics, judged by going through orders of the ties one by one."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from dsh_jax import hamming
from dsh_jax.retrieval import metrics


def naive_average_precision(distances, relevant, order, cut=None):
    """AP of one query when the items come in `order` and are then sorted stably by distance."""
    ranked = [relevant[i] for i in sorted(order, key=lambda i: distances[i])]
    cut = len(ranked) if cut is None else min(cut, len(ranked))
    hits, summed = 0, 0.0
    for rank, is_hit in enumerate(ranked[:cut], start=1):
        if is_hit:
            hits += 1
            summed += hits / rank
    best = min(cut, sum(ranked))
    return (summed / best if best else 0.0), hits


def histogram_pair(distances, relevant, num_bits):
    """One query's (total, relevant), each `[1, num_bits + 1]`."""
    distances, relevant = np.asarray(distances), np.asarray(relevant, bool)
    total = np.bincount(distances, minlength=num_bits + 1)
    return total[None], np.bincount(distances[relevant], minlength=num_bits + 1)[None]


def random_problem(seed, n_query=5, n_database=40, num_bits=6, classes=3):
    """Query bits, query labels, database bits, database labels."""
    rng = np.random.default_rng(seed)
    sizes = (n_query, n_database)
    bits = [rng.integers(0, 2, (n, num_bits), dtype=np.uint8) for n in sizes]
    labels = [rng.integers(0, classes, n) for n in sizes]
    return bits[0], labels[0], bits[1], labels[1]


items = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(items)
def test_expectation_over_all_orders(pairs):
    distances, relevant = zip(*pairs, strict=True)
    orders = list(itertools.permutations(range(len(pairs))))
    total, hits = histogram_pair(distances, relevant, 3)
    for cut in [None, *range(1, len(pairs) + 1)]:
        outcomes = np.array([naive_average_precision(distances, relevant, o, cut) for o in orders])
        expected_ap, expected_hits = outcomes.mean(axis=0)
        assert metrics.average_precision(total, hits, cut)[0] == pytest.approx(
            expected_ap, abs=1e-12
        )
        if cut is not None:
            precision, recall = expected_hits / cut, expected_hits / max(sum(relevant), 1)
            assert metrics.precision_at(total, hits, cut)[0] == pytest.approx(precision, abs=1e-12)
            assert metrics.recall_at(total, hits, cut)[0] == pytest.approx(recall, abs=1e-12)


def test_by_hand():
    # Distance 0: one relevant, one not. Distance 2: one relevant.
    total, relevant = np.array([[2, 0, 1]]), np.array([[1, 0, 1]])
    # Orders 1 0 1 and 0 1 1, equally likely.
    ap = ((1 + 2 / 3) / 2 + (1 / 2 + 2 / 3) / 2) / 2
    assert metrics.average_precision(total, relevant)[0] == pytest.approx(ap)
    assert metrics.average_precision(total, relevant, 1)[0] == pytest.approx(0.5)
    assert metrics.average_precision(total, relevant, 2)[0] == pytest.approx((1 + 1 / 2) / 2 / 2)
    assert metrics.precision_at(total, relevant, 1)[0] == pytest.approx(0.5)
    assert metrics.recall_at(total, relevant, 2)[0] == pytest.approx(0.5)
    assert metrics.precision_at(total, relevant, 9)[0] == pytest.approx(2 / 3)  # clipped to 3


def test_the_ball_holds_its_surface():
    total, relevant = np.array([[0, 1, 2]]), np.array([[0, 0, 2]])
    for radius, expected in ((0, 0), (1, 0), (2, 2 / 3), (99, 2 / 3)):
        assert metrics.precision_within_radius(total, relevant, radius)[0] == expected
    query, database = (hamming.pack(np.array([bits])) for bits in ([0, 0, 0], [1, 1, 0]))
    for radius, rate in ((1, 1.0), (2, 0.0)):
        result = metrics.evaluate(query, [0], database, [0], num_bits=3, radius=radius)
        assert result[f"empty_ball_rate_radius_{radius}"] == rate


@pytest.mark.parametrize("seed", range(5))
def test_without_ties_it_is_sklearns(seed):
    rng = np.random.default_rng(seed)
    distances, relevant = rng.permutation(65)[:40], rng.random(40) < 0.3
    total, hits = histogram_pair(distances, relevant, 64)
    expected = average_precision_score(relevant, -distances)
    assert metrics.average_precision(total, hits)[0] == pytest.approx(expected, abs=1e-9)
    for cut in (1, 7, 40):
        naive, found = naive_average_precision(distances, relevant, range(40), cut)
        assert metrics.average_precision(total, hits, cut)[0] == pytest.approx(naive, abs=1e-9)
        assert metrics.precision_at(total, hits, cut)[0] == pytest.approx(found / cut, abs=1e-9)


@pytest.mark.parametrize("cut", [None, 50])
def test_monte_carlo(cut):
    rng = np.random.default_rng(0)
    distances, relevant = rng.binomial(8, 0.4, 300), rng.random(300) < 0.2
    total, hits = histogram_pair(distances, relevant, 8)
    draws = [
        naive_average_precision(distances, relevant, rng.permutation(300), cut)[0]
        for _ in range(400)
    ]
    error = np.std(draws, ddof=1) / np.sqrt(len(draws))
    assert 0 < error < 0.005
    assert abs(metrics.average_precision(total, hits, cut)[0] - np.mean(draws)) < 3 * error


def test_a_large_bucket_loses_no_digits():
    # All 2,000,000 items tied but the nearest: AP = sum of the expected precisions, term by term.
    n, r = 2_000_000, 1000
    total, relevant = np.array([[1, n]]), np.array([[0, r]])
    i = np.arange(1, n + 1)
    terms = (1 + (i - 1) * (r - 1) / (n - 1)) / (1 + i)
    expected = terms.sum() * (r / n) / r
    assert metrics.average_precision(total, relevant)[0] == pytest.approx(expected, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    num_bits=st.integers(1, 20),
    n_database=st.integers(1, 50),
    cut=st.integers(1, 60),
    blocks=st.tuples(st.integers(1, 6), st.integers(1, 60)),
)
def test_histograms_and_their_properties(seed, num_bits, n_database, cut, blocks):
    query, query_labels, database, labels = random_problem(seed, 5, n_database, num_bits)
    codes = hamming.pack(query), hamming.pack(database)
    total, relevant = metrics.histograms(
        codes[0], query_labels, codes[1], labels,
        num_bits=num_bits, query_block=blocks[0], database_block=blocks[1],
    )  # fmt: skip
    assert total.dtype == relevant.dtype == np.int64
    expected = np.zeros((2, 5, num_bits + 1), int)
    for i, j in itertools.product(range(5), range(n_database)):
        distance = int(np.sum(query[i] != database[j]))
        expected[0, i, distance] += 1
        expected[1, i, distance] += query_labels[i] == labels[j]
    np.testing.assert_array_equal((total, relevant), expected)

    for values in (
        metrics.average_precision(total, relevant),
        metrics.average_precision(total, relevant, cut),
        metrics.precision_at(total, relevant, cut),
        metrics.recall_at(total, relevant, cut),
        metrics.precision_within_radius(total, relevant, cut),
    ):
        assert values.shape == (5,) and np.all((values >= 0) & (values <= 1))

    arguments = {"num_bits": num_bits, "cuts": (cut,)}
    first = metrics.evaluate(codes[0], query_labels, codes[1], labels, **arguments)
    order = np.random.default_rng(seed).permutation(n_database)
    again = metrics.evaluate(codes[0], query_labels, codes[1][order], labels[order], **arguments)
    assert first == again
    one_hot = metrics.evaluate(
        codes[0], np.eye(3)[query_labels], codes[1], np.eye(3)[labels], **arguments
    )
    assert first == one_hot


def test_multi_hot_items_are_relevant_when_they_share_a_label():
    query = np.array([[1, 1, 0], [0, 0, 0]])
    database = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]])
    codes = np.zeros((2, 1), np.uint8), np.zeros((4, 1), np.uint8)
    _, relevant = metrics.histograms(codes[0], query, codes[1], database, num_bits=4)
    np.testing.assert_array_equal(relevant[:, 0], [2, 0])


def test_evaluate_by_hand():
    query = hamming.pack(np.array([[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]))
    database = hamming.pack(np.array([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]]))
    result = metrics.evaluate(
        query, np.array([0, 0, 7]), database, np.array([0, 1, 0]), num_bits=4, cuts=(2, 5)
    )
    # Query 0 ranks item 0, then items 1 and 2 tied; query 1 the tied ones first, from distance 3;
    # query 2 has no relevant item.
    ap = [(1 + (1 + 2 / 3) / 2 / 1) / 2, ((1 + 2 / 3) / 2 + (1 / 2 + 2 / 3) / 2) / 2, 0]
    ap_at_2 = [(1 + 1 / 2) / 2, (1 / 2 + 1 / 4) / 2, 0]
    rules = result.pop("rules")
    assert result == {
        "map": pytest.approx(np.mean(ap)),
        "map_at_2": pytest.approx(np.mean(ap_at_2)),
        "precision_at_2": pytest.approx((1.5 / 2 + 1 / 2) / 3),
        "recall_at_2": pytest.approx((1.5 / 2 + 1 / 2) / 3),
        "map_at_5": pytest.approx(np.mean(ap)),
        "precision_at_5": pytest.approx((2 / 3 + 2 / 3) / 3),
        "recall_at_5": pytest.approx(2 / 3),
        "precision_within_radius_2": pytest.approx((2 / 3 + 0 + 0) / 3),
        "empty_ball_rate_radius_2": pytest.approx(1 / 3),
        "num_bits": 4,
        "num_queries": 3,
        "num_database": 3,
        "num_queries_without_relevant": 1,
        "clipped_cuts": {"5": 3},
    }
    assert rules["ties"] == "expected" and rules["queries_without_relevant"] == "counted 0"
    assert json.loads(json.dumps(result)) == result


CODES, LABELS = np.zeros((3, 2), np.uint8), np.zeros(3, int)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"query_codes": np.zeros((3, 3), np.uint8)}, r"query_codes.*\(3, 3\)"),
        ({"database_codes": np.full((3, 2), 1, np.uint8)}, r"database_codes \(3, 2\).*padding"),
        ({"query_labels": np.zeros(4, int)}, r"as many labels.*\(4,\) and \(3,\), codes 3 and 3"),
        ({"database_labels": np.zeros((3, 2), int)}, r"\[n, classes\].*\(3,\) and \(3, 2\)"),
        ({"query_labels": np.zeros(3)}, "integers, got float64"),
        ({"query_labels": np.full((3, 1), 4), "database_labels": np.ones((3, 1))}, "multi-hot"),
        ({"query_labels": np.zeros((3, 2)), "database_labels": np.zeros((3, 5))}, r"\(3, 5\)"),
        ({"query_codes": CODES[:0], "query_labels": LABELS[:0]}, "there must be a query"),
        ({"database_codes": CODES[:0], "database_labels": LABELS[:0]}, "codes 3 and 0"),
        ({"cuts": (10, 0)}, "cuts"),
        ({"radius": -1}, "radius"),
    ],
)
def test_evaluate_refuses_what_does_not_fit(changed, message):
    good = {"query_codes": CODES, "query_labels": LABELS, "num_bits": 12}
    good |= {"database_codes": CODES, "database_labels": LABELS}
    assert metrics.evaluate(**good)["map"] == 1.0
    with pytest.raises(ValueError, match=message):
        metrics.evaluate(**(good | changed))


def test_histograms_that_are_no_pair():
    with pytest.raises(ValueError, match=r"\(1, 3\) and \(1, 2\)"):
        metrics.average_precision(np.ones((1, 3), int), np.ones((1, 2), int))
    with pytest.raises(ValueError, match="between"):
        metrics.precision_at(np.ones((1, 3), int), np.full((1, 3), 2), 1)
    with pytest.raises(ValueError, match="cut"):
        metrics.recall_at(np.ones((1, 3), int), np.ones((1, 3), int), 0)
    with pytest.raises(ValueError, match="radius"):
        metrics.precision_within_radius(np.ones((1, 3), int), np.ones((1, 3), int), -1)
    with pytest.raises(ValueError, match="blocks"):
        metrics.histograms(CODES, LABELS, CODES, LABELS, num_bits=12, query_block=0)
