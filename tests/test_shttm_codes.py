"""SHTTM's codes, judged by a float64 loop over documents and tags with the full C, as published."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.shttm_codes import random_tags, textbook_iteration
from dsh_jax.methods.shttm_codes import _joined, _solve_side, learn_codes
from dsh_jax.methods.shttm_hash import fit_hash_function, medians

WEIGHTS = {"present": 2.0, "missing": 0.05, "tag_ridge": 0.3, "topic_weight": 0.7}


def corpus(n, num_tags, bits, seed=0, share=0.15):
    """Tags, the first in nearly all documents and the last in none, and topics."""
    rng = np.random.default_rng(seed)
    tags = (rng.random((n, num_tags)) < share).astype(np.uint8)
    tags[:, :1] = rng.random((n, 1)) < 0.9
    tags[:, max(1, num_tags - 1) :] = 0
    tags[n // 2] = 0  # a document without tags
    return tags, rng.dirichlet(np.full(bits, 0.3), n)


def learn(tags, topics, iterations, **changes):
    given = WEIGHTS | {"dtype": "float64", "tolerance": 0.0} | changes
    return learn_codes(tags, topics, iterations=iterations, **given)


def slow_objective(tags, topics, codes, factors, *, present, missing, tag_ridge, topic_weight):
    """The objective, pair after pair."""
    total = tag_ridge * np.sum(factors**2) + topic_weight * np.sum((codes - topics) ** 2)
    for i in range(tags.shape[1]):
        for j in range(len(tags)):
            confidence = present if tags[j, i] else missing
            total += confidence * (float(tags[j, i]) - factors[i] @ codes[j]) ** 2
    return total


def slow_iteration(tags, topics, codes, *, present, missing, tag_ridge, topic_weight):
    """All tag factors and then all codes, each with its whole diagonal C."""
    confidence, wanted = np.where(tags, present, missing), tags.astype(float)
    identity = np.eye(topics.shape[1])
    factors = np.zeros((tags.shape[1], topics.shape[1]))
    for i in range(tags.shape[1]):
        weights = np.diag(confidence[:, i])
        gram = codes.T @ weights @ codes + tag_ridge * identity
        factors[i] = np.linalg.inv(gram) @ (codes.T @ weights @ wanted[:, i])
    moved = np.zeros_like(topics)
    for j in range(len(tags)):
        weights = np.diag(confidence[j])
        gram = factors.T @ weights @ factors + topic_weight * identity
        pull = factors.T @ weights @ wanted[j] + topic_weight * topics[j]
        moved[j] = np.linalg.inv(gram) @ pull
    return moved, factors


# Rows with fewer tags than bits and with more, in padded groups.
SHAPES = [(40, 7, 3), (70, 9, 12), (23, 30, 5), (12, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_it_takes_the_published_steps(shape):
    tags, topics = corpus(*shape)
    assert not tags.any(axis=1).all() and (shape[1] == 1 or not tags.any(axis=0).all())
    codes = topics
    for iterations in range(1, 4):
        codes, factors = slow_iteration(tags, topics, codes, **WEIGHTS)
        result = learn(tags, topics, iterations)
        np.testing.assert_allclose(result.tag_factors, factors, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(result.codes, codes, rtol=1e-8, atol=1e-8)
        assert len(result.objectives) == iterations
        expected = slow_objective(tags, topics, codes, factors, **WEIGHTS)
        assert result.objectives[-1] == pytest.approx(expected, rel=1e-8)


def test_single_precision_is_close():
    tags, topics = corpus(*SHAPES[1])
    exact, result = (learn(tags, topics, 4, dtype=dtype) for dtype in ("float64", "float32"))
    assert result.codes.dtype == result.tag_factors.dtype == np.float32
    assert exact.codes.dtype == exact.tag_factors.dtype == np.float64
    np.testing.assert_allclose(result.codes, exact.codes, atol=1e-4)
    np.testing.assert_allclose(result.tag_factors, exact.tag_factors, atol=1e-4)
    np.testing.assert_allclose(result.objectives, exact.objectives, rtol=1e-5)


def test_rows_are_solved_in_batches_as_all_at_once(monkeypatch):
    tags, topics = corpus(*SHAPES[1])
    whole = learn(tags, topics, 2)
    monkeypatch.setattr("dsh_jax.methods.shttm_codes._BATCH_ELEMENTS", 240)
    jax.clear_caches()
    batched = learn(tags, topics, 2)
    jax.clear_caches()
    np.testing.assert_allclose(batched.codes, whole.codes, rtol=1e-10)
    np.testing.assert_allclose(batched.objectives, whole.objectives, rtol=1e-12)


def test_no_batch_of_lapack_calls_can_hang():
    tags, topics = corpus(*SHAPES[1])
    joined = _joined(sp.csr_array(tags.T))
    text = _solve_side.lower(topics, topics[:9], joined, 1.0, 0.1, 1.0).as_text()
    assert "while" in text and "lapack" not in text and "custom_call" not in text


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 9999),
    shape=st.sampled_from([(1, 1, 1), (9, 1, 2), (6, 8, 1), (12, 5, 4)]),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    missing=st.sampled_from([1e-4, 0.1, 0.99]),
    ridge=st.sampled_from([1e-3, 1.0, 1e4]),
    weight=st.sampled_from([1e-3, 1.0, 1e4]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_the_objective_never_rises(seed, shape, share, missing, ridge, weight, dtype):
    n, num_tags, bits = shape
    rng = np.random.default_rng(seed)
    tags = rng.random((n, num_tags)) < share
    topics = rng.dirichlet(np.ones(bits), n).astype(dtype)
    weights = {"present": 1.0, "missing": missing, "tag_ridge": ridge, "topic_weight": weight}
    result = learn(tags, topics, 6, dtype=dtype, **weights)
    assert np.all(np.diff(result.objectives) <= 0)
    ends = (part.astype(float) for part in (topics, result.codes, result.tag_factors))
    expected = slow_objective(tags, *ends, **weights)
    assert result.objectives[-1] == pytest.approx(expected, rel=1e-9, abs=1e-9)
    one = slow_iteration(tags, topics.astype(float), topics.astype(float), **weights)
    exact = slow_objective(tags, topics, *one, **weights)
    assert result.objectives[0] == pytest.approx(exact, rel=1e-5, abs=1e-7)


def test_it_ends_where_the_gradient_is_zero():
    tags, topics = corpus(30, 6, 4)
    result = learn(tags, topics, 3000, tolerance=1e-14)
    with jax.enable_x64(True):

        def objective(codes, factors):
            confidence = jnp.where(tags, WEIGHTS["present"], WEIGHTS["missing"])
            return (
                jnp.sum(confidence * (tags - codes @ factors.T) ** 2)
                + WEIGHTS["tag_ridge"] * jnp.sum(factors**2)
                + WEIGHTS["topic_weight"] * jnp.sum((codes - topics) ** 2)
            )

        slope = jax.grad(objective, argnums=(0, 1))
        ends, starts = (
            [float(jnp.abs(part).max()) for part in slope(codes, factors)]
            for codes, factors in (
                (jnp.asarray(result.codes), jnp.asarray(result.tag_factors)),
                (jnp.asarray(topics), jnp.asarray(result.tag_factors)),
            )
        )
    assert max(ends) < 1e-5 < 0.1 < max(starts)


def test_it_stops_when_little_is_gained():
    tags, topics = corpus(40, 7, 3)
    heard = []
    long = learn(tags, topics, 30, report=lambda *line: heard.append(line))
    assert heard == list(enumerate(long.objectives, 1)) and len(heard) == 30
    shares = -np.diff(long.objectives) / long.objectives[1:]
    tolerance = float(np.sort(shares)[15])
    first = int(np.argmax(shares <= tolerance)) + 2
    short = learn(tags, topics, 30, tolerance=tolerance)
    assert short.objectives == long.objectives[:first] and first < 30


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("num_tags", [0, 3])
def test_without_any_tag_the_codes_are_the_topics(num_tags, dtype):
    topics = np.random.default_rng(0).dirichlet(np.ones(4), 6)
    result = learn(np.zeros((6, num_tags)), topics, 5, dtype=dtype)
    np.testing.assert_allclose(result.codes, topics, rtol=1e-6)
    assert result.tag_factors.shape == (num_tags, 4) and not result.tag_factors.any()
    assert result.objectives and result.objectives[-1] == pytest.approx(0, abs=1e-9)


def test_tags_may_be_sparse_and_stay_as_they_are():
    tags, topics = corpus(40, 7, 3)
    expected = learn(tags, topics, 2)
    sparse = sp.csc_matrix(tags.astype(float))
    sparse.data[0] = 0  # stored, and yet no tag
    dense = sparse.toarray()
    for same in (sp.csr_matrix(tags), sp.coo_array(tags), tags.astype(bool)):
        np.testing.assert_array_equal(learn(same, topics, 2).codes, expected.codes)
    np.testing.assert_array_equal(learn(sparse, topics, 2).codes, learn(dense, topics, 2).codes)
    assert sparse.nnz == tags.sum()


def test_the_callers_precision_stays():
    tags, topics = corpus(12, 1, 1)
    seen = []

    def report(iteration, objective):
        seen.append(jax.config.jax_enable_x64)

    for wanted in (False, True):
        with jax.enable_x64(wanted):
            for dtype in ("float32", "float64"):
                assert learn(tags, topics, 1, dtype=dtype, report=report).codes.dtype == dtype
                seen.append(jax.config.jax_enable_x64)
    assert seen == [False] * 4 + [True] * 4


def test_the_benchmark_compares_with_the_same_steps():
    tags = random_tags(60, 12)
    assert tags.any(axis=1).all()
    topics = np.random.default_rng(0).dirichlet(np.ones(4), 60)
    expected = slow_iteration(tags, topics, topics, **WEIGHTS)
    for part, other in zip(
        textbook_iteration(tags, topics, topics, **WEIGHTS), expected, strict=True
    ):
        np.testing.assert_allclose(part, other, rtol=1e-9)


def test_a_median_halves_the_codes():
    codes = np.random.default_rng(0).normal(size=(10, 3))
    assert medians(codes).shape == (3,)
    np.testing.assert_array_equal(np.sum(codes > medians(codes), axis=0), [5, 5, 5])


@pytest.mark.parametrize("n, words", [(30, 50), (50, 30)])
def test_the_hash_function_is_the_papers(n, words):
    rng = np.random.default_rng(0)
    features = sp.random_array((n, words), density=0.2, rng=rng, format="csr")
    codes, ridge = rng.normal(size=(n, 4)), 0.3
    dense = features.toarray().T  # X of the paper: a column a document
    expected = codes.T @ dense.T @ np.linalg.inv(dense @ dense.T + ridge * np.eye(words))
    weights = fit_hash_function(features, codes, ridge=ridge)
    assert weights.shape == (words, 4)
    np.testing.assert_allclose(weights, expected.T, rtol=1e-8, atol=1e-8)
    one_bit = fit_hash_function(features.tocsc().astype(np.float32), codes[:, :1], ridge=ridge)
    np.testing.assert_allclose(one_bit, expected.T[:, :1], atol=1e-5)


@pytest.mark.parametrize("n, words", [(300, 200), (200, 300), (5, 40), (40, 5), (1, 1)])
@pytest.mark.parametrize("ridge", [1e-2, 3.0, 1e4])
def test_all_bits_at_once_are_solved_exactly(n, words, ridge):
    """Also bits that are equal, empty, huge or tiny, and more of them than documents."""
    rng = np.random.default_rng(0)
    features = sp.random_array((n, words), density=0.3, rng=rng, format="csr")
    codes = rng.normal(size=(n, 8)) * 10.0 ** np.arange(-4, 4)
    codes[:, 1], codes[:, 2] = codes[:, 7], 0
    dense = features.toarray()
    expected = np.linalg.solve(dense.T @ dense + ridge * np.eye(words), dense.T @ codes)
    weights = fit_hash_function(features, codes, ridge=ridge)
    close = 1e-6 * np.abs(expected).max(axis=0)
    assert (np.abs(weights - expected) <= close).all()


@pytest.mark.parametrize("ridge", [1e-300, 1e300])
def test_absurd_ridges_give_a_finite_hash_function(ridge):
    features = sp.random_array((9, 20), density=0.3, rng=np.random.default_rng(0), format="csr")
    assert np.isfinite(fit_hash_function(features, np.ones((9, 3)), ridge=ridge)).all()


@pytest.mark.parametrize(
    "name, value",
    [
        ("present", 0.05),
        ("present", np.inf),
        ("present", np.nan),
        ("missing", 0.0),
        ("missing", -1.0),
        ("tag_ridge", 0.0),
        ("topic_weight", 0.0),
        ("iterations", 0),
    ],
)
def test_impossible_settings_are_the_users_mistake(name, value):
    tags, topics = corpus(12, 3, 2)
    with pytest.raises(ValueError, match=f"codes.{name} is {value}: choose"):
        learn(tags, topics, **{"iterations": 1, name: value})


def test_weights_too_far_apart_are_the_users_mistake():
    tags, topics = corpus(70, 9, 12)
    topics = topics[:, :1] * np.ones(12) + 1e-6 * topics  # nearly one topic
    for weights in ({"tag_ridge": 1e-30}, {"present": 1e36}):
        with pytest.raises(ValueError, match="float32 is too coarse.*choose"):
            learn(tags, 1e6 * topics, 3, dtype="float32", **weights)


def test_a_hash_function_without_ridge_is_the_users_mistake():
    with pytest.raises(ValueError, match="ridge is 0: choose"):
        fit_hash_function(sp.eye_array(3), np.ones((3, 2)), ridge=0)


@pytest.mark.parametrize(
    "tags, topics, message",
    [
        (np.ones(3), np.ones((3, 2)), "tags"),
        (np.full((3, 2), 2), np.ones((3, 2)), "0 and 1"),
        (np.full((3, 2), np.nan), np.ones((3, 2)), "0 and 1"),
        (np.ones((3, 2)), np.ones((4, 2)), "topics"),
        (np.ones((3, 2)), np.ones(3), "topics"),
        (np.ones((3, 2)), np.ones((3, 0)), "topics"),
        (np.ones((0, 2)), np.ones((0, 2)), "topics"),
        (np.ones((3, 2)), np.full((3, 2), np.nan), "NaN"),
    ],
)
def test_shapes_and_values_are_checked(tags, topics, message):
    with pytest.raises(ValueError, match=message):
        learn(tags, topics, 1)


def test_other_shapes_are_checked():
    with pytest.raises(ValueError, match="dtype"):
        learn(np.ones((3, 2)), np.ones((3, 2)), 1, dtype="float16")
    with pytest.raises(ValueError, match="features and codes"):
        fit_hash_function(sp.eye_array(3), np.ones((4, 2)), ridge=1)
    with pytest.raises(ValueError, match="features and codes"):
        fit_hash_function(sp.eye_array(3), np.ones(3), ridge=1)
