"""Queries without a hit in the first k left out of mAP at k, judged by every order of the ties."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsh_jax.retrieval import evaluate, ranking
from dsh_jax.retrieval.conventions import parse


def average_precision(hits, cut, relevant, denominator):
    """Of one ranking, item by item; None without a hit."""
    top = hits[:cut]
    if not any(top):
        return None
    divisor = {"reachable": min(cut, relevant), "all_relevant": relevant, "hits_in_top_k": sum(top)}
    precisions = [sum(top[: i + 1]) / (i + 1) for i in range(len(top)) if top[i]]
    return sum(precisions) / divisor[denominator]


def outcomes(query, label, database, labels, cut, denominator):
    """The average precision under every order of the ties, None without a hit."""
    distances = np.sum(database != query, axis=1)
    hits = (labels == label).tolist()
    return [
        average_precision([hits[i] for i in sorted(order, key=lambda i: distances[i])], cut,
                          sum(hits), denominator)
        for order in itertools.permutations(range(len(database)))
    ]  # fmt: skip


def problem(seed, n_query=3, n_database=5, num_bits=2, classes=3):
    rng = np.random.default_rng(seed)
    bits = [rng.integers(0, 2, (n, num_bits), dtype=np.uint8) for n in (n_query, n_database)]
    labels = [rng.integers(0, classes, n) for n in (n_query, n_database)]
    return bits[0], labels[0], bits[1], labels[1]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    cut=st.integers(1, 6),
    denominator=st.sampled_from(ranking.DENOMINATORS),
)
def test_mean_and_bounds_over_all_orders(seed, cut, denominator):
    query, query_labels, database, labels = problem(seed)
    of_queries = [
        outcomes(q, label, database, labels, cut, denominator)
        for q, label in zip(query, query_labels, strict=True)
    ]
    words = f"skip_no_hit/{denominator}"
    measured = (query, query_labels, database, labels)
    if all(outcome is None for of_query in of_queries for outcome in of_query):
        with pytest.raises(ValueError, match="no query has a relevant item"):
            evaluate(*measured, num_bits=2, cuts=(cut,), conventions=words)
        return
    result = evaluate(*measured, num_bits=2, cuts=(cut,), conventions=words)
    # The orders of a query are equally likely: expected sum of scores / expected number of hits.
    summed = sum(np.mean([x or 0 for x in of_query]) for of_query in of_queries)
    number = sum(np.mean([x is not None for x in of_query]) for of_query in of_queries)
    assert result[f"map_at_{cut}"] == pytest.approx(summed / number, abs=1e-12)
    assert result["num_queries_without_hit"] == {str(cut): pytest.approx(3 - number)}
    means = [
        np.mean([x for x in drawn if x is not None])
        for drawn in itertools.product(*({*of_query} for of_query in of_queries))
        if any(x is not None for x in drawn)
    ]
    band = result["tie_band"][f"map_at_{cut}"]
    assert band == pytest.approx([min(means), max(means)], abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 9), multi=st.booleans())
def test_the_other_measures_and_the_whole_database(seed, cut, multi):
    query, query_labels, database, labels = problem(seed, 6, 8, 4)
    database[0], labels[0] = query[0], query_labels[0]  # a hit, whatever the order
    if multi:
        query_labels, labels = np.eye(4)[query_labels], np.eye(4)[labels]
        labels[-1, 3] = 1  # a second label, which no query has
    results = {
        words: evaluate(query, query_labels, database, labels, num_bits=4, cuts=(cut,),
                        conventions=words)
        for words in ("zero", "skip", "skip_no_hit", "stable/skip_no_hit")
    }  # fmt: skip
    ours = results["skip_no_hit"]
    # Over the whole database a query without a hit is one without a relevant item.
    for name in ("map", "weighted_map")[: 1 + multi]:
        assert ours[name] == pytest.approx(results["skip"][name], abs=1e-12)
        assert ours["tie_band"][name] == pytest.approx(results["skip"]["tie_band"][name])
    for name in ("precision", "recall", *(("ndcg", "acg") if multi else ())):
        assert ours[f"{name}_at_{cut}"] == results["zero"][f"{name}_at_{cut}"]
    assert ours[f"map_at_{cut}"] >= results["zero"][f"map_at_{cut}"] - 1e-12
    if multi:
        assert ours[f"weighted_map_at_{cut}"] == pytest.approx(ours[f"map_at_{cut}"])
    stable = results["stable/skip_no_hit"]
    assert stable["tie_band"].keys() == ours["tie_band"].keys()
    low, high = ours["tie_band"][f"map_at_{cut}"]
    assert low - 1e-12 <= stable[f"map_at_{cut}"] <= high + 1e-12


def deep_hash_map(query, query_labels, database, labels, top):
    """mAP as DeepHash computes it, but with a stable sort."""
    scores = []
    for code, label in zip(query, query_labels, strict=True):
        order = np.argsort(np.sum(database != code, axis=1), kind="stable")[:top]
        ranks = 1 + np.flatnonzero(labels[order] == label)
        if len(ranks):
            scores.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return np.mean(scores), len(query) - len(scores)


@pytest.mark.parametrize("top", [1, 3, 40])
def test_stable_is_what_public_code_computes(top):
    measured = problem(7, 30, 40, 6, classes=8)
    words = "stable/hits_in_top_k/skip_no_hit"
    result = evaluate(*measured, num_bits=6, cuts=(top,), conventions=words)
    expected, without = deep_hash_map(*measured, top)
    assert result[f"map_at_{top}"] == pytest.approx(expected, abs=1e-12)
    assert result["num_queries_without_hit"] == {str(top): without}
    assert top == 40 or without > 0
    assert result["conventions"] == words and "skip_no_hit" in result["rules"]


def test_many_random_orders_agree():
    """The mean of the ratio over random orders, one order for all queries, comes close."""
    query, query_labels, database, labels = problem(1, 400, 60, 3, classes=10)
    rng = np.random.default_rng(0)
    words = "hits_in_top_k/skip_no_hit"
    ours = evaluate(query, query_labels, database, labels, num_bits=3, cuts=(2,),
                    conventions=words)  # fmt: skip
    drawn = []
    for _ in range(300):
        order = rng.permutation(60)
        drawn.append(deep_hash_map(query, query_labels, database[order], labels[order], 2))
    assert 100 < ours["num_queries_without_hit"]["2"] < 390
    error = np.std([score for score, _ in drawn], ddof=1) / np.sqrt(len(drawn))
    close = 4 * error + 1 / 400
    assert ours["map_at_2"] == pytest.approx(np.mean([s for s, _ in drawn]), abs=close)
    without = [number for _, number in drawn]
    assert ours["num_queries_without_hit"]["2"] == pytest.approx(np.mean(without), rel=0.02)


def test_by_hand():
    # Query 0: nearest item relevant. Query 1: two tied items, one of them relevant.
    counts = np.array([[[0, 1], [2, 0]], [[1, 1], [0, 1]], [[3, 0], [0, 0]]])
    assert ranking.hit_probability(counts, 1).tolist() == [1.0, 0.5, 0.0]
    assert ranking.hit_probability(counts, 2).tolist() == [1.0, 1.0, 0.0]
    assert ranking.hit_probability(counts).tolist() == [1.0, 1.0, 0.0]
    bits = np.array([[0], [0], [1]])
    labels = np.array([0, 1, 1])
    # Query 0 (bit 0, class 0) has items 0 and 1 tied; query 1 (bit 1, class 1) has item 2 first.
    result = evaluate(np.array([[0], [1]]), np.array([0, 1]), bits, labels, num_bits=1, cuts=(1,),
                      conventions="skip_no_hit")  # fmt: skip
    assert result["map_at_1"] == pytest.approx((0.5 * 1 + 1) / (0.5 + 1))
    assert result["tie_band"]["map_at_1"] == [1.0, 1.0]
    assert result["precision_at_1"] == pytest.approx((0.5 + 1) / 2)


def test_the_word():
    assert parse("skip_no_hit/stable").without_relevant == "skip_no_hit"
    with pytest.raises(ValueError, match="skip_no_hit"):
        parse("skip/skip_no_hit")
