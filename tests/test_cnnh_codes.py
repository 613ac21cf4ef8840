"""CNNH's target codes, judged by a float64 loop that keeps L and tries out each change of it."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.cnnh_codes import textbook_sweep
from dsh_jax.methods.cnnh_codes import (
    initial_codes,
    learn_class_codes,
    learn_codes,
    sweep_order,
)
from dsh_jax.methods.cnnh_sweep import newton_step, objective_change
from dsh_jax.methods.similarity import check_memory, required_bytes, similarity_from_labels


def objective(similarity, codes, counts=None):
    """||S - H H^T / q||_F^2 over images, as it is written."""
    codes = np.asarray(codes, float)
    counts = np.ones(len(codes), int) if counts is None else counts
    images = np.repeat(codes, counts, axis=0)
    target = np.repeat(np.repeat(similarity, counts, axis=0), counts, axis=1)
    return np.sum((target - images @ images.T / codes.shape[1]) ** 2)


def slow_objectives(similarity, counts, num_bits, seed, sweeps):
    """Coordinate descent that recomputes the objective wherever it asks for a change.

    Returns the objectives, and how many entries had no positive curvature.
    """
    n = len(similarity)
    pairs = np.outer(counts, counts)
    codes = initial_codes(n, num_bits, seed).astype(float)
    objectives, concave = [objective(similarity, codes, counts)], 0
    for sweep in range(1, sweeps + 1):
        for i, order in zip(*sweep_order(n, num_bits, seed, sweep), strict=True):
            for j in order:
                residual = codes @ codes.T - num_bits * similarity

                def change(step, i=i, j=j, residual=residual):
                    moved = codes.copy()
                    moved[i, j] += step
                    after = (moved[i] @ moved.T - num_bits * similarity[i]) ** 2
                    gain = pairs[i] * (after - residual[i] ** 2)
                    return 2 * gain.sum() - gain[i]  # row and column i

                entry = codes[i, j]
                slope = 4 * np.sum(counts * residual[i] * codes[:, j])
                curvature = 4 * (
                    np.sum(counts * codes[:, j] ** 2) + counts[i] * (entry**2 + residual[i, i])
                )
                bounds = [-1 - entry, 1 - entry]
                if curvature > 0:
                    step = np.clip(-slope / curvature, *bounds)
                    for _ in range(4):
                        step = step if change(step) <= 0 else step / 2
                else:
                    step = min(bounds, key=change)
                    concave += 1
                codes[i, j] += step if change(step) <= 0 else 0
        objectives.append(objective(similarity, codes, counts))
    return np.array(objectives), concave


def random_similarity(n, seed):
    signs = np.where(np.random.default_rng(seed).random((n, n)) < 0.4, 1, -1)
    upper = np.triu(signs, 1)
    return upper + upper.T + np.eye(n, dtype=int)


def multi_hot(n, classes, seed=0):
    return (np.random.default_rng(seed).random((n, classes)) < 0.2).astype(np.uint8)


@pytest.mark.parametrize(
    "similarity, num_bits",
    [
        (similarity_from_labels(np.arange(40) % 4), 8),
        (similarity_from_labels(multi_hot(130, 6)), 5),  # the last block is padded
        (random_similarity(60, 0), 8),
        (random_similarity(24, 1), 24),  # few rows and long codes: curvature is often negative
    ],
)
def test_it_descends_as_the_slow_loop_does(similarity, num_bits):
    sweeps = 4
    result = learn_codes(similarity, num_bits=num_bits, seed=3, sweeps=sweeps)
    ones = np.ones(len(similarity), int)
    slow, concave = slow_objectives(similarity, ones, num_bits, 3, sweeps)
    assert (concave > 50) == (num_bits == 24)
    assert result.objectives.shape == (sweeps + 1,)
    assert slow[-1] < 0.97 * slow[0]
    np.testing.assert_allclose(result.objectives, slow, rtol=1e-3)
    np.testing.assert_allclose(
        result.objectives[[0, -1]],
        [
            objective(similarity, initial_codes(len(similarity), num_bits, 3)),
            objective(similarity, result.relaxed),
        ],
        rtol=1e-9,
    )


def test_the_benchmark_compares_with_the_same_descent():
    similarity, num_bits = similarity_from_labels(multi_hot(100, 6)), 6
    result = learn_codes(similarity, num_bits=num_bits, seed=0, sweeps=2)
    relaxed = initial_codes(100, num_bits, 0).astype(float)
    residual = relaxed @ relaxed.T - num_bits * similarity
    for sweep in (1, 2):
        assert textbook_sweep(relaxed, residual, *sweep_order(100, num_bits, 0, sweep)) == 600
        assert result.objectives[sweep] == pytest.approx(objective(similarity, relaxed), rel=1e-3)
    np.testing.assert_allclose(relaxed @ relaxed.T - num_bits * similarity, residual, atol=1e-9)


@pytest.mark.parametrize("counts", [[3, 1, 9, 30], [1, 1000, 1, 1, 20]])
def test_weighted_rows_descend_as_the_slow_loop_does(counts):
    similarity = 2 * np.eye(len(counts), dtype=int) - 1
    result = learn_class_codes(np.array(counts), num_bits=6, seed=1, sweeps=4)
    slow, _ = slow_objectives(similarity, np.array(counts), 6, 1, 4)
    np.testing.assert_allclose(result.objectives, slow, rtol=1e-3)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 9999),
    # Few shapes: each is compiled separately.
    shape=st.sampled_from([(1, 1), (2, 5), (7, 3), (20, 16), (66, 4)]),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
def test_the_objective_never_rises_on_any_similarity(seed, shape, share):
    n, num_bits = shape
    signs = np.where(np.random.default_rng(seed).random((n, n)) < share, 1, -1)
    similarity = np.triu(signs, 1) + np.triu(signs, 1).T + np.eye(n, dtype=int)
    result = learn_codes(similarity, num_bits=num_bits, seed=seed, sweeps=12)
    assert np.all(np.diff(result.objectives) <= 0)
    assert np.all(np.abs(result.relaxed) <= 1)
    assert result.objectives[-1] == pytest.approx(objective(similarity, result.relaxed), abs=1e-6)
    assert result.quantized_objective == pytest.approx(
        objective(similarity, result.codes), abs=1e-6
    )


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 9999),
    n=st.integers(1, 8),
    num_bits=st.integers(1, 6),
    step=st.floats(-2, 2),
    weighted=st.booleans(),
)
def test_the_quartic_is_the_change_of_the_objective(seed, n, num_bits, step, weighted):
    rng = np.random.default_rng(seed)
    similarity, codes = random_similarity(n, seed), rng.uniform(-1, 1, (n, num_bits))
    counts = rng.integers(1, 6, n) if weighted else np.ones(n, int)
    i, j = rng.integers(n), rng.integers(num_bits)
    residual = codes @ codes.T - num_bits * similarity
    column = codes[:, j]
    slope = 4 * np.sum(counts * residual[i] * column)
    curvature = 4 * (np.sum(counts * column**2) + counts[i] * (column[i] ** 2 + residual[i, i]))
    moved = codes.copy()
    moved[i, j] += step
    change = objective(similarity, moved, counts) - objective(similarity, codes, counts)
    quartic = objective_change(step, slope, curvature, column[i], counts[i])
    assert counts[i] * quartic / num_bits**2 == pytest.approx(change, rel=1e-6, abs=1e-8)


def test_a_step_is_newtons_unless_it_leads_uphill():
    rng = np.random.default_rng(0)
    n = 4000
    entry, weight = rng.uniform(-1, 1, n), rng.choice([0.2, 1, 9, 300], n)
    slope, curvature = rng.normal(0, 6, (2, n)) * rng.random((2, n)) ** 4
    steps = np.asarray(newton_step(*map(jnp.asarray, (slope, curvature, entry, weight))))
    seen = {"newton": 0, "halved": 0, "none": 0, "bound": 0, "stay": 0}
    for step, *case in zip(steps, slope, curvature, entry, weight, strict=True):

        def change(step, case=case):
            return objective_change(step, *case)

        bounds = [-1 - case[2], 1 - case[2]]
        if case[1] > 0:
            newton = np.clip(-case[0] / case[1], *bounds)
            downhill = [newton / 2**k for k in range(5) if change(newton / 2**k) <= 0]
            expected = (downhill or [0])[0]
            kind = "none" if not downhill else "newton" if expected == newton else "halved"
        else:
            expected = min([0, *bounds], key=change)
            kind = "bound" if expected else "stay"
        seen[kind] += 1
        assert step == pytest.approx(expected, abs=1e-5)
    assert min(seen.values()) > 5, seen


@pytest.mark.parametrize("num_bits", [16, 48])
def test_one_code_per_class_does_as_well_as_one_per_image(num_bits):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), np.arange(10, 20)))
    similarity, counts = similarity_from_labels(labels), np.bincount(labels)
    full = learn_codes(similarity, num_bits=num_bits, seed=0, sweeps=10)
    reduced = learn_class_codes(counts, num_bits=num_bits, seed=0, sweeps=10)
    assert reduced.objectives[-1] == pytest.approx(full.objectives[-1], rel=0.01)
    assert reduced.quantized_objective == pytest.approx(full.quantized_objective, rel=0.01)
    # Both figures are of the full problem.
    images = reduced.relaxed[labels]
    assert reduced.objectives[-1] == pytest.approx(objective(similarity, images), rel=1e-9)
    assert reduced.quantization_gap == pytest.approx(np.mean((np.sign(images) - images) ** 2))


def test_even_counts_are_the_full_form_on_the_classes():
    full = learn_codes(2 * np.eye(6) - 1, num_bits=8, seed=2)
    reduced = learn_class_codes(np.full(6, 7), num_bits=8, seed=2)
    np.testing.assert_array_equal(full.relaxed, reduced.relaxed)
    np.testing.assert_allclose(49 * full.objectives, reduced.objectives)


@pytest.mark.parametrize("num_bits, classes", [(12, 10), (16, 10), (48, 10), (12, 21)])
@pytest.mark.parametrize("fewest", [100, 500])
def test_no_two_classes_share_a_code(num_bits, classes, fewest):
    for seed in range(8):
        counts = np.random.default_rng(seed).integers(fewest, 501, classes)
        codes = learn_class_codes(counts, num_bits=num_bits, seed=seed).codes
        assert len(np.unique(codes, axis=0)) == classes
        assert codes.dtype == np.int8 and set(np.unique(codes)) == {-1, 1}


def test_another_seed_is_taken_where_two_classes_share_a_code():
    counts, alike = np.full(8, 5), []
    for seed in range(30):
        # Seen through the full form, which takes the seed that it is given.
        first = learn_codes(2 * np.eye(8) - 1, num_bits=3, seed=seed)
        if len(np.unique(first.codes, axis=0)) < 8:
            alike.append(seed)
    assert alike
    codes = learn_class_codes(counts, num_bits=3, seed=alike[0]).codes
    assert len(np.unique(codes, axis=0)) == 8


def test_more_classes_than_codes_get_what_there_is():
    result = learn_class_codes(np.full(5, 10), num_bits=1, seed=0)
    assert set(np.unique(result.codes)) == {-1, 1}


def test_signs_separate_what_is_not_similar():
    labels = np.repeat([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]], 20, axis=0)
    result = learn_codes(similarity_from_labels(labels), num_bits=12, seed=0)
    agreement = result.codes.astype(int) @ result.codes.T
    # The first two kinds share a label.
    assert agreement[:40, :40].min() > 6 and agreement[:40, 40:].max() < -6


def test_similarity_of_labels():
    np.testing.assert_array_equal(
        similarity_from_labels(np.array([7, 3, 7])), [[1, -1, 1], [-1, 1, -1], [1, -1, 1]]
    )
    hot = multi_hot(600, 5)  # more than a block of rows, and some without any label
    assert not hot.any(axis=1).all()
    similarity = similarity_from_labels(hot)
    assert similarity.dtype == np.int8
    for i in range(0, 600, 37):
        for j in range(600):
            assert similarity[i, j] == (1 if i == j or np.any(hot[i] & hot[j]) else -1)


def test_the_same_seed_gives_the_same_codes():
    similarity = similarity_from_labels(np.arange(40) % 4)
    first = learn_codes(similarity, num_bits=8, seed=5, sweeps=2)
    again = learn_codes(similarity.astype(float), num_bits=8, seed=5, sweeps=2)
    other = learn_codes(similarity, num_bits=8, seed=6, sweeps=2)
    np.testing.assert_array_equal(first.relaxed, again.relaxed)
    assert np.any(first.codes != other.codes)
    assert first.relaxed.dtype == np.float32 and first.codes.dtype == np.int8
    np.testing.assert_array_equal(first.codes, np.where(first.relaxed >= 0, 1, -1))
    assert first.quantization_gap == pytest.approx(np.mean((first.codes - first.relaxed) ** 2))


def test_each_sweep_visits_each_entry_once_in_another_order():
    rows, bits = sweep_order(30, 7, seed=0, sweep=1)
    np.testing.assert_array_equal(np.sort(rows), np.arange(30))
    np.testing.assert_array_equal(np.sort(bits, axis=1), np.tile(np.arange(7), (30, 1)))
    assert len(np.unique(bits, axis=0)) > 1
    assert np.any(sweep_order(30, 7, seed=0, sweep=2)[0] != rows)


BAD_SIMILARITY = {
    "not symmetric": np.array([[1, 1], [-1, 1]]),
    "values other than": np.array([[1, 0], [0, 1]]),
    "diagonal": np.array([[1, 1], [1, -1]]),
}


@pytest.mark.parametrize("message", BAD_SIMILARITY)
def test_an_invalid_similarity_is_the_users_mistake(message):
    with pytest.raises(ValueError, match=message):
        learn_codes(BAD_SIMILARITY[message], num_bits=2, seed=0)


def test_impossible_settings_are_the_users_mistake():
    for learn, data in ((learn_codes, np.ones((2, 2))), (learn_class_codes, np.array([1, 2]))):
        with pytest.raises(ValueError, match="0 bits.*at least 1 bit"):
            learn(data, num_bits=0, seed=0)
        with pytest.raises(ValueError, match="0 sweeps.*at least 1 sweep"):
            learn(data, num_bits=2, seed=0, sweeps=0)
    with pytest.raises(ValueError, match="class 1 has 0 images"):
        learn_class_codes(np.array([3, 0]), num_bits=2, seed=0)


def test_memory_is_asked_for_before_it_is_taken():
    needed = required_bytes(30, 4)
    similarity = similarity_from_labels(np.arange(30) % 3, max_bytes=needed)
    learn_codes(similarity, num_bits=4, seed=0, max_bytes=needed)
    assert needed > 2 * 30 * 30 and required_bytes(60, 4) > 2 * needed
    with pytest.raises(ValueError, match="30 images needs.*MiB.*fewer"):
        learn_codes(similarity, num_bits=4, seed=0, max_bytes=needed - 1)
    with pytest.raises(ValueError, match="30 images"):
        similarity_from_labels(np.arange(30), max_bytes=900)
    # 18 TiB: no machine of ours, and the matrix is only a view of one number.
    n = 3_000_000
    with pytest.raises(ValueError, match="3,000,000 images"):
        learn_codes(np.broadcast_to(np.int8(1), (n, n)), num_bits=4, seed=0)
    with pytest.raises(ValueError, match="3,000,000 images"):
        similarity_from_labels(np.zeros(n, np.int8))
    with pytest.raises(ValueError, match="3,000,000 images"):
        check_memory(n, 4)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (0, 0), (2, 2, 2)])
def test_shapes_are_checked(shape):
    with pytest.raises(ValueError, match="similarity"):
        learn_codes(np.ones(shape), num_bits=2, seed=0)


@pytest.mark.parametrize("counts", [np.ones((2, 2), int), np.zeros(0, int), np.ones(3)])
def test_counts_are_checked(counts):
    with pytest.raises(ValueError, match="class_counts"):
        learn_class_codes(counts, num_bits=2, seed=0)


@pytest.mark.parametrize(
    "labels, message",
    [
        (np.ones((2, 2, 2), int), "labels"),
        (np.zeros(0, int), "labels"),
        (np.ones(3), "integers"),
        (np.array([[0, 2]]), "0 and 1"),
    ],
)
def test_labels_are_checked(labels, message):
    with pytest.raises(ValueError, match=message):
        similarity_from_labels(labels)
