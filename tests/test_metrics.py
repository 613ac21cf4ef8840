"""Codes and labels in, metrics out: judged by counting pair by pair and by hand."""

import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsh_jax import hamming
from dsh_jax.retrieval import Conventions, evaluate, ranking
from dsh_jax.retrieval.conventions import parse
from dsh_jax.retrieval.counts import distance_counts, without_self
from dsh_jax.retrieval.health import code_health


def random_problem(seed, n_query=5, n_database=40, num_bits=6, classes=3, multi=False):
    """Query bits, query labels, database bits, database labels."""
    rng = np.random.default_rng(seed)
    sizes = (n_query, n_database)
    bits = [rng.integers(0, 2, (n, num_bits), dtype=np.uint8) for n in sizes]
    shapes = [(n, classes) if multi else n for n in sizes]
    labels = [rng.integers(0, 2 if multi else classes, shape) for shape in shapes]
    return bits[0], labels[0], bits[1], labels[1]


def run_python(script, **environment):
    """Runs Python code in a process of its own."""
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True,
        env=os.environ | environment,
    )  # fmt: skip


def shared(a, b):
    return int(np.sum(a * b)) if np.ndim(a) else int(a == b)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    num_bits=st.integers(1, 70),
    n_database=st.integers(1, 50),
    blocks=st.tuples(st.sampled_from([1, 2, 4]), st.sampled_from([1, 8, 64])),
    multi=st.booleans(),
    kernel=st.sampled_from(["devices", "popcount"]),
)
def test_counts_pair_by_pair(seed, num_bits, n_database, blocks, multi, kernel):
    query, query_labels, database, labels = random_problem(
        seed, 5, n_database, num_bits, multi=multi
    )
    counted = distance_counts(
        hamming.pack(query), query_labels, hamming.pack(database), labels, num_bits=num_bits,
        kernel=kernel, query_block=blocks[0], database_block=blocks[1],
    )  # fmt: skip
    levels = 1 + query_labels.sum(axis=1).max() if multi else 2
    expected = np.zeros((5, num_bits + 1, levels), int)
    for i, j in itertools.product(range(5), range(n_database)):
        distance = int(np.sum(query[i] != database[j]))
        expected[i, distance, shared(query_labels[i], labels[j])] += 1
    assert counted.dtype == np.int64
    np.testing.assert_array_equal(counted, expected)


@pytest.mark.parametrize("multi", [False, True])
def test_each_item_is_left_out_of_its_own_ranking(multi):
    bits, labels, _, _ = random_problem(3, 12, multi=multi)
    codes = hamming.pack(bits)
    counts = distance_counts(codes, labels, codes, labels, num_bits=6)
    left = without_self(counts, labels)
    for i in range(12):
        rest = np.arange(12) != i
        alone = distance_counts(
            codes[i : i + 1], labels[i : i + 1], codes[rest], labels[rest], num_bits=6
        )[0]
        np.testing.assert_array_equal(left[i][:, : alone.shape[1]], alone)
        assert not left[i][:, alone.shape[1] :].any()


def test_class_ids_may_be_large_and_negative():
    codes = np.zeros((3, 1), np.uint8)
    counts = distance_counts(codes, np.array([-5, 2**40, 2**40 + 2**32]), codes,
                             np.array([2**40, -5, -5]), num_bits=4)  # fmt: skip
    np.testing.assert_array_equal(counts[:, 0], [[1, 2], [2, 1], [3, 0]])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 60), multi=st.booleans())
def test_properties_of_evaluate(seed, cut, multi):
    query, query_labels, database, labels = random_problem(seed, multi=multi)
    arguments = {"num_bits": 6, "cuts": (cut,)}
    codes = hamming.pack(query), hamming.pack(database)
    first = evaluate(codes[0], query_labels, codes[1], labels, **arguments)
    order = np.random.default_rng(seed).permutation(len(labels))
    again = evaluate(codes[0], query_labels, codes[1][order], labels[order], **arguments)
    assert first == again  # the order of the database does not matter
    assert first == evaluate(query, query_labels, 2.0 * database - 1, labels, **arguments)
    for name, (worst, best) in first["tie_band"].items():
        assert 0 <= worst <= first[name] + 1e-12 and first[name] <= best + 1e-12
        assert best <= (3 if "acg" in name or "weighted" in name else 1) + 1e-12
    stable = evaluate(codes[0], query_labels, codes[1], labels, conventions="stable", **arguments)
    for name, (worst, best) in stable["tie_band"].items():
        assert worst - 1e-12 <= stable[name] <= best + 1e-12
    assert stable["tie_band"] == first["tie_band"]
    if not multi:
        one_hot = evaluate(codes[0], np.eye(3)[query_labels], codes[1], np.eye(3)[labels],
                           **arguments)  # fmt: skip
        assert one_hot == first  # without graded measures


def sorted_map(query, query_labels, database, labels, top):
    """mAP as in public hashing code: sort for each query, divide by the hits in the top."""
    scores = []
    for code, label in zip(query, query_labels, strict=True):
        order = np.argsort(np.sum(database != code, axis=1), kind="stable")[:top]
        ranks = 1 + np.flatnonzero(labels[order] == label)
        scores.append(np.mean(np.arange(1, len(ranks) + 1) / ranks) if len(ranks) else 0.0)
    return np.mean(scores)


@pytest.mark.parametrize("top", [1, 7, 40])
def test_stable_with_hits_in_top_k_is_what_public_code_computes(top):
    problem = random_problem(7)
    result = evaluate(*problem, num_bits=6, cuts=(top,), conventions="stable/hits_in_top_k")
    assert result[f"map_at_{top}"] == pytest.approx(sorted_map(*problem, top), abs=1e-12)
    assert result["conventions"] == "stable/hits_in_top_k/zero"
    assert set(result["rules"]) == {"stable", "hits_in_top_k", "zero", "empty_ball"}


def test_evaluate_by_hand():
    query = hamming.pack(np.array([[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]))
    database = hamming.pack(np.array([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]]))
    labels = np.array([0, 0, 7]), np.array([0, 1, 0])
    result = evaluate(query, labels[0], database, labels[1], num_bits=4, cuts=(2, 5))
    # Query 0 ranks item 0, then items 1 and 2 tied; query 1 the tied ones first, from distance 3;
    # query 2 has no relevant item.
    ap = [(1 + (1 + 2 / 3) / 2 / 1) / 2, ((1 + 2 / 3) / 2 + (1 / 2 + 2 / 3) / 2) / 2, 0]
    ap_at_2 = [(1 + 1 / 2) / 2, (1 / 2 + 1 / 4) / 2, 0]
    health, band = result.pop("code_health"), result.pop("tie_band")
    error, of_queries = result.pop("standard_error"), result.pop("query_average_precision")
    for name in ("rules", "radius_curve"):
        assert result.pop(name)
    assert result == {
        "map": pytest.approx(np.mean(ap)),
        "map_at_2": pytest.approx(np.mean(ap_at_2)),
        "precision_at_2": pytest.approx((1.5 / 2 + 1 / 2) / 3),
        "recall_at_2": pytest.approx((1.5 / 2 + 1 / 2) / 3),
        "map_at_5": pytest.approx(np.mean(ap)),
        "precision_at_5": pytest.approx((2 / 3 + 2 / 3) / 3),
        "recall_at_5": pytest.approx(2 / 3),
        "precision_within_radius_2": pytest.approx((2 / 3 + 0 + 0) / 3),
        "recall_within_radius_2": pytest.approx(1 / 3),
        "empty_ball_rate_radius_2": pytest.approx(1 / 3),
        "num_bits": 4,
        "num_queries": 3,
        "num_database": 3,
        "num_queries_without_relevant": 1,
        "clipped_cuts": {"5": 3},
        "conventions": "expected/reachable/zero",
    }
    assert band["map"] == pytest.approx(
        [((1 + 2 / 3) / 2 + (1 / 2 + 2 / 3) / 2) / 3, (1 + (1 + 2 / 3) / 2) / 3]
    )
    assert health["distinct_codes"] == 2 and health["largest_bucket"] == 2
    assert of_queries == [0.91667, 0.70833, 0.0]
    # Squared deviations from the mean, over n - 1 and then over n.
    assert error["map"] == pytest.approx((sum((x - sum(ap) / 3) ** 2 for x in ap) / 2 / 3) ** 0.5)
    assert error["precision_at_2"] == pytest.approx(0.22048, abs=1e-5)  # of 0.75, 0.5 and 0
    assert error.keys() == band.keys()
    assert json.loads(json.dumps(result)) == result
    skipping = evaluate(
        query, labels[0], database, labels[1], num_bits=4, cuts=(2,), conventions="skip"
    )
    assert skipping["map"] == pytest.approx(np.mean(ap[:2]))
    assert skipping["precision_at_2"] == pytest.approx((1.5 / 2 + 1 / 2) / 2)
    assert skipping["query_average_precision"] == of_queries[:2]
    assert skipping["standard_error"]["precision_at_2"] == pytest.approx(0.125)  # of 0.75 and 0.5


def test_one_query_has_no_standard_error():
    query, labels, database, database_labels = random_problem(2)
    result = evaluate(query[:1], labels[:1], database, database_labels, num_bits=6)
    assert set(result["standard_error"].values()) == {None}
    assert result["query_average_precision"] == [round(result["map"], 5)]


def test_multi_label_metrics_are_the_means_over_the_queries():
    problem = random_problem(5, multi=True)
    result = evaluate(*problem, num_bits=6, cuts=(10,))
    counts = distance_counts(*problem, num_bits=6)
    assert result["ndcg_at_10"] == pytest.approx(ranking.ndcg(counts, 10).mean())
    assert result["acg_at_10"] == pytest.approx(
        ranking.average_cumulative_gain(counts, 10).mean()
    )
    assert result["weighted_map_at_10"] == pytest.approx(
        ranking.average_precision(counts, 10, graded=True).mean()
    )


def test_the_curve_over_radii_goes_through_the_radius():
    result = evaluate(*random_problem(1), num_bits=6, radius=1)
    curve = result["radius_curve"]
    assert all(len(values) == 7 for values in curve.values())
    assert curve["precision"][1] == result["precision_within_radius_1"]
    assert curve["recall"][-1] == 1.0 and curve["empty_ball_rate"][-1] == 0.0


def test_code_health_by_hand():
    codes = np.array([[0, 0, 1], [0, 0, 1], [1, 1, 1], [1, 0, 1]])
    health = code_health(codes, num_bits=3)
    assert health["bit_means"] == [0.5, 0.25, 1.0] and health["constant_bits"] == 1
    assert health["bit_imbalance"] == pytest.approx((0 + 0.25 + 0.5) / 3)
    quarter = -0.25 * np.log2(0.25) - 0.75 * np.log2(0.75)
    assert health["bit_entropy"] == pytest.approx((1 + quarter + 0) / 3)
    assert health["code_entropy"] == pytest.approx(1.5)
    assert health["bit_correlation"] == pytest.approx(1 / np.sqrt(3))
    assert (health["distinct_codes"], health["collisions"], health["largest_bucket"]) == (3, 2, 2)


@pytest.mark.parametrize("num_bits", [11, 70])
def test_code_health_of_many_codes_is_found_in_parts(monkeypatch, num_bits):
    codes = np.random.default_rng(0).integers(0, 2, (300, num_bits))
    codes[:, 3:] &= codes[:, :1]  # some codes are frequent
    whole = code_health(codes, num_bits=num_bits)
    monkeypatch.setattr("dsh_jax.retrieval.health._BLOCK", 50)
    assert code_health(codes, num_bits=num_bits) == whole
    sizes = Counter(map(tuple, codes)).values()
    shares = np.array([*sizes]) / 300
    assert whole["code_entropy"] == pytest.approx(-(shares * np.log2(shares)).sum())
    assert whole["collisions"] == sum(size for size in sizes if size > 1)
    assert (whole["distinct_codes"], whole["largest_bucket"]) == (len(sizes), max(sizes))


@pytest.mark.parametrize("multi", [False, True])
def test_many_items_are_counted_in_blocks(monkeypatch, multi):
    query, labels, database, of_database = random_problem(0, n_database=95, multi=multi)
    arguments = {"num_bits": 6, "kernel": "popcount"}
    whole = distance_counts(query, labels, database, of_database, **arguments)
    monkeypatch.setattr("dsh_jax.retrieval.popcount._ITEMS", 10)
    blocks = distance_counts(query, labels, database, of_database, **arguments)
    np.testing.assert_array_equal(blocks, whole)
    assert whole.sum() == 5 * 95


def test_conventions_in_words():
    assert parse("") == parse("expected") == Conventions()
    assert parse("skip/stable") == Conventions(ties="stable", without_relevant="skip")
    stable = Conventions("stable", "all_relevant")
    assert parse(stable.name) == stable
    for words in ("peers", "stable/expected", "stable stable"):
        with pytest.raises(ValueError, match="hits_in_top_k"):
            parse(words)
    with pytest.raises(ValueError, match="ties is one of"):
        Conventions(ties="skip")


DEVICES_SCRIPT = """
import jax, numpy as np
from dsh_jax.retrieval import evaluate
from dsh_jax.retrieval import device_counts as counts

used, compile_sum = [], counts.compile_sum
def record(add, devices):
    used.append(list(devices))
    return compile_sum(add, devices)
counts.compile_sum = record

rng = np.random.default_rng(0)
problem = [rng.integers(0, 2, shape) for shape in ((5, 9), 5, (70, 9), 70)]
first, second = jax.local_devices()
results = [evaluate(*problem, num_bits=9, devices=chosen) for chosen in (None, [first], [second])]
assert used == [[first, second], [first], [second]], used
assert results[0] == results[1] == results[2]
"""


def test_evaluation_takes_the_devices_given():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    done = run_python(DEVICES_SCRIPT, JAX_PLATFORMS="cpu", XLA_FLAGS=flags)
    assert done.returncode == 0, done.stderr


def test_evaluation_does_not_import_the_training_stack():
    unwanted = {"optax", "flax", "ml_collections", "sklearn", "matplotlib", "tensorflow_datasets"}
    script = (
        "import sys; from dsh_jax.retrieval import evaluate; "
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = run_python(script)
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.split())
    assert "dsh_jax" in imported and not imported & unwanted


CODES, LABELS = np.zeros((3, 2), np.uint8), np.zeros(3, int)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"query_codes": np.zeros((3, 3), np.uint8)}, r"query_codes.*\(3, 3\)"),
        ({"query_codes": np.full((3, 12), 2)}, r"query_codes int64 \(3, 12\).*0 and 1"),
        ({"query_codes": np.array([[-1, 0, 1] * 4] * 3)}, r"\(3, 12\).*-1 and 1"),
        ({"database_codes": np.full((3, 2), 1, np.uint8)}, r"database_codes \(3, 2\).*padding"),
        ({"query_labels": np.zeros(4, int)}, r"same length.*\(4,\) and \(3,\), codes 3 and 3"),
        ({"database_labels": np.zeros((3, 2), int)}, r"\[n, classes\].*\(3,\) and \(3, 2\)"),
        ({"query_labels": np.zeros(3)}, "integers, got float64"),
        ({"query_labels": np.full((3, 1), 4), "database_labels": np.ones((3, 1))}, "multi-hot"),
        ({"query_labels": np.zeros((3, 2)), "database_labels": np.zeros((3, 5))}, r"\(3, 5\)"),
        ({"query_codes": CODES[:0], "query_labels": LABELS[:0]}, "at least one query"),
        ({"database_codes": CODES[:0], "database_labels": LABELS[:0]}, "codes 3 and 0"),
        ({"cuts": (10, 0)}, "cuts"),
        ({"radius": -1}, "radius"),
        ({"conventions": "sorted"}, "conventions 'sorted'"),
        ({"database_labels": LABELS + 1, "conventions": "skip"}, "no query has a relevant item"),
    ],
)
def test_evaluate_refuses_what_does_not_fit(changed, message):
    good = {"query_codes": CODES, "query_labels": LABELS, "num_bits": 12}
    good |= {"database_codes": CODES, "database_labels": LABELS}
    assert evaluate(**good)["map"] == 1.0
    with pytest.raises(ValueError, match=message):
        evaluate(**(good | changed))


def test_counts_refuse_impossible_blocks():
    with pytest.raises(ValueError, match="blocks"):
        distance_counts(CODES, LABELS, CODES, LABELS, num_bits=12, query_block=0)


def test_without_numba_the_devices_count(monkeypatch):
    monkeypatch.setattr("dsh_jax.retrieval.counts._popcount", lambda: None)
    monkeypatch.setattr("dsh_jax.retrieval.counts._LARGE", 0)
    assert distance_counts(CODES, LABELS, CODES, LABELS, num_bits=12)[:, 0, 1].tolist() == [3] * 3
    with pytest.raises(ValueError, match="pip install numba"):
        distance_counts(CODES, LABELS, CODES, LABELS, num_bits=12, kernel="popcount")


def test_many_items_are_counted_block_by_block(monkeypatch):
    monkeypatch.setattr("dsh_jax.retrieval.counts._LARGE", 0)
    problem = random_problem(0, 3, 10_001, 130, multi=True)
    found = distance_counts(*problem, num_bits=130)
    np.testing.assert_array_equal(
        found, distance_counts(*problem, num_bits=130, kernel="devices")
    )


def test_code_health_is_counted_block_by_block(monkeypatch):
    bits = np.random.default_rng(0).integers(0, 2, (333, 10))
    means, correlations = bits.mean(axis=0), np.corrcoef(bits.T)[np.triu_indices(10, 1)]
    monkeypatch.setattr("dsh_jax.retrieval.health._BLOCK", 100)
    health = code_health(bits, num_bits=10)
    np.testing.assert_array_equal(health["bit_means"], means)
    assert health["bit_correlation"] == pytest.approx(np.abs(correlations).mean())
