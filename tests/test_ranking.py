"""Ranked metrics, judged by a naive metric of one ranking over every order of the ties."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from dsh_jax.retrieval import ranking


def naive(levels, cut, denominator="reachable", graded=False):
    """Metrics of one ranking, item by item: name -> value."""
    cut = len(levels) if cut is None else min(cut, len(levels))
    hits, gains, summed = 0, 0, 0.0
    for rank, level in enumerate(levels[:cut], start=1):
        hits, gains = hits + (level > 0), gains + level
        if level > 0:
            summed += (gains if graded else hits) / rank
    relevant = sum(level > 0 for level in levels)
    divisor = {"reachable": min(cut, relevant), "all_relevant": relevant, "hits_in_top_k": hits}
    dcg, ideal = (
        sum((2**level - 1) / math.log2(rank + 1) for rank, level in enumerate(x[:cut], start=1))
        for x in (levels, sorted(levels, reverse=True))
    )
    return {
        "ap": summed / divisor[denominator] if divisor[denominator] else 0.0,
        "precision": hits / cut,
        "recall": hits / relevant if relevant else 0.0,
        "acg": gains / cut,
        "ndcg": dcg / ideal if ideal else 0.0,
    }


def ours(counts, cut, denominator="reachable", graded=False):
    """The same names from counts of one query."""
    values = {
        "ap": ranking.average_precision(counts, cut, denominator=denominator, graded=graded),
        "ndcg": ranking.ndcg(counts, cut),
    }
    if cut is not None:
        values |= {
            "precision": ranking.precision_at(counts, cut),
            "recall": ranking.recall_at(counts, cut),
            "acg": ranking.average_cumulative_gain(counts, cut),
        }
    return {name: value[0] for name, value in values.items()}


def counts_of(distances, levels, buckets=4, num_levels=4):
    """One query's counts `[1, buckets, num_levels]`."""
    counts = np.zeros((1, buckets, num_levels), np.int64)
    np.add.at(counts, (0, np.asarray(distances), np.asarray(levels)), 1)
    return counts


def orders_of(distances, levels):
    """The levels in rank order, for every order of the ties."""
    for order in itertools.permutations(range(len(levels))):
        yield [levels[i] for i in sorted(order, key=lambda i: distances[i])]


items = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(items, st.sampled_from(ranking.DENOMINATORS), st.booleans())
def test_expectation_and_bounds_over_all_orders(pairs, denominator, graded):
    distances, levels = zip(*pairs, strict=True)
    counts = counts_of(distances, levels)
    worst, best = (ranking.in_order(counts, order) for order in ("worst", "best"))
    for cut in [None, *range(1, len(pairs) + 2)]:
        outcomes = [naive(x, cut, denominator, graded) for x in orders_of(distances, levels)]
        for name, value in ours(counts, cut, denominator, graded).items():
            values = [outcome[name] for outcome in outcomes]
            assert value == pytest.approx(np.mean(values), abs=1e-12), (name, cut)
            bounds = [ours(x, cut, denominator, graded)[name] for x in (worst, best)]
            if name == "ap" and denominator == "hits_in_top_k" and cut is not None:
                if graded:
                    continue
                bounds = [x[0] for x in ranking.average_precision_bounds_over_hits(counts, cut)]
            assert bounds == pytest.approx([min(values), max(values)], abs=1e-12), (name, cut)


def test_by_hand():
    # Distance 0: one relevant, one not. Distance 2: one relevant.
    counts = np.array([[[1, 1], [0, 0], [0, 1]]])
    # Orders 1 0 1 and 0 1 1, equally likely.
    ap = ((1 + 2 / 3) / 2 + (1 / 2 + 2 / 3) / 2) / 2
    assert ranking.average_precision(counts)[0] == pytest.approx(ap)
    assert ranking.average_precision(counts, 1)[0] == pytest.approx(0.5)
    assert ranking.average_precision(counts, 2)[0] == pytest.approx((1 + 1 / 2) / 2 / 2)
    by_hits = ranking.average_precision(counts, 2, denominator="hits_in_top_k")[0]
    assert by_hits == pytest.approx((1 + 1 / 2) / 2)
    assert ranking.precision_at(counts, 1)[0] == pytest.approx(0.5)
    assert ranking.recall_at(counts, 2)[0] == pytest.approx(0.5)
    assert ranking.precision_at(counts, 9)[0] == pytest.approx(2 / 3)  # clipped to 3


def test_weighted_precision_and_gain_by_hand():
    # Shared labels in rank order: 2, 0, 1.
    counts = counts_of([0, 1, 2], [2, 0, 1])
    assert ranking.average_precision(counts, graded=True)[0] == pytest.approx((2 + 3 / 3) / 2)
    assert ranking.average_cumulative_gain(counts, 2)[0] == pytest.approx(1.0)
    dcg, ideal = 3 + 1 / math.log2(4), 3 + 1 / math.log2(3)
    assert ranking.ndcg(counts)[0] == pytest.approx(dcg / ideal)


def test_lookup_within_a_radius():
    # Nothing at 0, one of two relevant at 1, one relevant at 2.
    counts = np.array([[[0, 0], [1, 1], [0, 1]]])
    precision, recall, empty = ranking.within_radius(counts)
    np.testing.assert_allclose(precision, [[0, 1 / 2, 2 / 3]])
    np.testing.assert_allclose(recall, [[0, 1 / 2, 1]])
    np.testing.assert_array_equal(empty, [[True, False, False]])


@pytest.mark.parametrize("seed", range(5))
def test_without_ties_it_is_sklearns(seed):
    rng = np.random.default_rng(seed)
    distances, levels = rng.permutation(65)[:40], rng.choice(3, 40, p=[0.7, 0.2, 0.1])
    counts = counts_of(distances, levels, buckets=65)
    expected = average_precision_score(levels > 0, -distances)
    assert ranking.average_precision(counts)[0] == pytest.approx(expected, abs=1e-9)
    gains = 2.0**levels - 1
    for cut in (1, 7, 40):
        expected = ndcg_score(gains[None], -distances[None].astype(float), k=cut)
        assert ranking.ndcg(counts, cut)[0] == pytest.approx(expected, abs=1e-9)


def test_with_ties_it_is_sklearns_ndcg():
    # scikit-learn averages DCG over ties too.
    rng = np.random.default_rng(0)
    distances, levels = rng.integers(0, 5, 50), rng.integers(0, 4, 50)
    counts = counts_of(distances, levels, buckets=5)
    expected = ndcg_score((2.0**levels - 1)[None], -distances[None].astype(float))
    assert ranking.ndcg(counts)[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("cut", [None, 50])
@pytest.mark.parametrize("denominator", ranking.DENOMINATORS)
def test_mean_over_10_000_random_orders(cut, denominator):
    rng = np.random.default_rng(0)
    distances, relevant = rng.binomial(8, 0.4, 300), rng.random(300) < 0.2
    counts = counts_of(distances, relevant.astype(int), buckets=9, num_levels=2)
    shuffled = rng.permuted(np.tile(np.arange(300), (10_000, 1)), axis=1)
    order = np.take_along_axis(
        shuffled, np.argsort(distances[shuffled], axis=1, kind="stable"), axis=1
    )[:, :cut]
    hit = relevant[order]
    precision = np.cumsum(hit, axis=1) / np.arange(1, hit.shape[1] + 1)
    found = hit.sum(axis=1)
    divisor = {"reachable": min(relevant.sum(), cut or 300), "all_relevant": relevant.sum(),
               "hits_in_top_k": found}[denominator]  # fmt: skip
    draws = (precision * hit).sum(axis=1) / divisor
    error = draws.std(ddof=1) / np.sqrt(len(draws))
    assert 0 < error < 0.001
    value = ranking.average_precision(counts, cut, denominator=denominator)[0]
    assert abs(value - draws.mean()) < 3 * error
    if denominator == "hits_in_top_k" and cut:
        worst, best = ranking.average_precision_bounds_over_hits(counts, cut)
    else:
        worst, best = (
            ranking.average_precision(ranking.in_order(counts, x), cut, denominator=denominator)
            for x in ("worst", "best")
        )
    assert worst[0] <= draws.min() and draws.max() <= best[0] and worst[0] < value < best[0]


def test_a_large_bucket_loses_no_digits():
    # All 2,000,000 items tied but the nearest: AP = sum of the expected precisions, term by term.
    n, r = 2_000_000, 1000
    counts = np.array([[[1, 0], [n - r, r]]])
    i = np.arange(1, n + 1)
    terms = (1 + (i - 1) * (r - 1) / (n - 1)) / (1 + i)
    # The first item is not relevant, so a hit at the i-th place of the bucket has rank i + 1.
    expected = terms.sum() * (r / n) / r
    assert ranking.average_precision(counts)[0] == pytest.approx(expected, rel=1e-9)


def test_without_relevant_items_all_is_0():
    counts = counts_of([0, 1, 1], [0, 0, 0])
    for denominator in ranking.DENOMINATORS:
        assert set(ours(counts, 2, denominator).values()) == {0.0}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda c: ranking.average_precision(c, 0), "cut"),
        (lambda c: ranking.recall_at(c, -1), "cut"),
        (lambda c: ranking.average_precision(c, 1, denominator="hits"), "denominator is one of"),
        (lambda c: ranking.average_precision(c[0]), r"int64 \(2, 2\)"),
        (lambda c: ranking.precision_at(c.astype(float), 1), "float64"),
        (lambda c: ranking.ndcg(c[:, :, :1]), "2 levels"),
        (lambda c: ranking.within_radius(-c), "negative"),
    ],
)
def test_refuses_invalid_counts_and_cuts(function, message):
    with pytest.raises(ValueError, match=message):
        function(np.ones((1, 2, 2), np.int64))
