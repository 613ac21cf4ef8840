"""Ranking by cosine against a plain loop that averages over all orders of the ties."""

import itertools

import numpy as np
import pytest

from dsh_jax.retrieval.baselines import fit_pca
from dsh_jax.retrieval.cosine import evaluate_cosine

RNG = np.random.default_rng(0)


def measured(query, query_labels, database, labels, **options):
    take = database.__getitem__
    return evaluate_cosine(query, np.asarray(query_labels), take, np.asarray(labels), **options)


def plain_map(query, query_labels, database, labels):
    """Mean AP, each averaged over every order of the database that the cosines allow."""
    scores = []
    for vector, label in zip(query, query_labels, strict=True):
        cosine = [float(vector @ item) / (np.linalg.norm(vector) * np.linalg.norm(item))
                  for item in database]  # fmt: skip
        of_orders = []
        for order in itertools.permutations(range(len(database))):
            ranked = [round(cosine[k], 6) for k in order]
            if ranked != sorted(ranked, reverse=True):
                continue
            hits = np.array([labels[k] == label for k in order])
            precisions = np.cumsum(hits) / np.arange(1, len(hits) + 1)
            of_orders.append((precisions * hits).sum() / hits.sum())
        scores.append(np.mean(of_orders))
    return np.mean(scores)


def test_map_is_that_of_a_plain_loop_over_all_orders_of_ties():
    query = RNG.standard_normal((4, 3)).astype(np.float32)
    database = RNG.standard_normal((6, 3)).astype(np.float32)
    database[3], database[5] = 2 * database[0], 0.5 * database[1]  # the same directions
    query_labels, labels = [0, 1, 0, 1], [0, 1, 1, 1, 0, 0]
    found = measured(query, query_labels, database, labels)
    assert found["map"] == pytest.approx(plain_map(query, query_labels, database, labels))
    assert (found["num_queries"], found["num_database"]) == (4, 6)
    assert len(found["query_average_precision"]) == 4 and found["clipped_cuts"]["100"] == 6


def test_blocks_do_not_matter(monkeypatch):
    query, database = RNG.standard_normal((7, 5)), RNG.standard_normal((40, 5))
    labels = RNG.integers(0, 3, 40)
    whole = measured(query, np.arange(7) % 3, database, labels)
    monkeypatch.setattr("dsh_jax.retrieval.cosine._QUERIES", 2)
    monkeypatch.setattr("dsh_jax.retrieval.cosine._ITEMS", 9)
    assert measured(query, np.arange(7) % 3, database, labels) == whole


def test_stable_ties_are_in_the_order_of_the_database():
    one = np.ones((1, 2))
    database = np.ones((3, 2))
    found = measured(one, [0], database, [1, 0, 1], conventions="stable")
    assert found["map"] == 0.5
    expected = measured(one, [0], database, [1, 0, 1])
    assert expected["map"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_several_labels_are_graded_and_zeros_are_at_right_angles():
    query, database = np.array([[1.0, 0.0]]), np.array([[1.0, 0.1], [-1.0, 0.0], [0.0, 0.0]])
    hot = np.array([[1, 1, 0], [0, 0, 1], [1, 0, 0]])
    found = measured(query, np.array([[1, 1, 0]]), database, hot)
    assert found["map"] == 1.0 and found["ndcg_at_100"] == 1.0  # zeros before the opposite


def test_queries_without_a_relevant_item_can_be_left_out():
    query, database = np.ones((2, 2)), np.ones((2, 2))
    found = measured(query, [0, 5], database, [0, 0], conventions="skip")
    assert found["map"] == 1.0 and found["num_queries_without_relevant"] == 1
    with pytest.raises(ValueError, match="leave out such queries"):
        measured(query, [5, 5], database, [0, 0], conventions="skip")


def test_signs_of_principal_components():
    features = RNG.standard_normal((200, 4)) * [9, 4, 2, 1] + 7
    bits = fit_pca(features, num_bits=2, seed=0)(features)
    # Nearly the first two axes, up to their signs.
    for column in range(2):
        same = np.mean(bits[:, column] == (features[:, column] > features[:, column].mean()))
        assert max(same, 1 - same) > 0.85
    with pytest.raises(ValueError, match="PCA cannot make codes of 5 bits"):
        fit_pca(features, num_bits=5, seed=0)
