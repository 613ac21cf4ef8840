"""ITQ and LSH, judged on properties of their maths and on the digits; topics and labels."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from dsh_jax import hamming
from dsh_jax.retrieval import evaluate
from dsh_jax.retrieval.baselines import fit_itq, fit_lsh, itq_rotation, label_codes, median_codes


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), num_bits=st.integers(1, 12), n=st.integers(1, 60))
def test_itq_error_never_rises_and_the_rotation_is_orthogonal(seed, num_bits, n):
    projected = np.random.default_rng(seed).standard_normal((n, num_bits)) * np.arange(
        1, num_bits + 1
    )
    rotation, errors = itq_rotation(projected, seed=seed, iterations=20)
    assert errors.shape == (21,)
    assert np.all(np.diff(errors) <= 1e-9 * errors[0])
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(num_bits), atol=1e-9)
    rotated = projected @ rotation
    naive = np.mean([sum((abs(x) - 1) ** 2 for x in row) for row in rotated])
    assert errors[-1] == pytest.approx(naive)


def test_itq_finds_the_corners_of_a_turned_cube():
    corners = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], float)
    turn = np.array([[np.cos(0.6), -np.sin(0.6)], [np.sin(0.6), np.cos(0.6)]])
    points = corners @ turn
    _, errors = itq_rotation(points, seed=0, iterations=30)
    assert errors[0] > 0.01 and errors[-1] < 1e-12
    codes = fit_itq(points + 5, num_bits=2, seed=0)(points + 5)
    assert len(np.unique(codes, axis=0)) == 4


def digits_map(fit, num_bits):
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], labels[order]
    encode = fit(images[200:], num_bits=num_bits, seed=1)
    query, database = hamming.pack(encode(images[:200])), hamming.pack(encode(images[200:]))
    return evaluate(query, labels[:200], database, labels[200:], num_bits=num_bits)["map"]


def test_itq_beats_lsh_on_digits_and_both_beat_chance():
    itq, lsh = digits_map(fit_itq, 16), digits_map(fit_lsh, 16)
    assert itq > lsh + 0.05
    assert lsh > 0.15  # a random ranking of ten even classes has 0.1


@pytest.mark.parametrize("fit", [fit_itq, fit_lsh])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_encoders_give_the_same_bits_for_the_same_seed(fit, dtype):
    features = np.random.default_rng(0).integers(0, 256, (5000, 10)).astype(dtype)
    encode = fit(features, num_bits=6, seed=3)
    bits = encode(features)
    assert bits.shape == (5000, 6) and bits.dtype == np.uint8
    np.testing.assert_array_equal(fit(features, num_bits=6, seed=3)(features), bits)
    assert np.any(fit(features, num_bits=6, seed=4)(features) != bits)
    across_blocks = slice(4090, 4100)
    np.testing.assert_array_equal(encode(features[across_blocks]), bits[across_blocks])
    assert np.all(np.abs(bits.mean(axis=0) - 0.5) < 0.1)  # centred: both sides are populated


def test_lsh_may_have_more_bits_than_features_and_respects_angles():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2, 3))
    features -= features.mean(axis=0)  # two opposite points: every bit differs
    bits = fit_lsh(features, num_bits=2000, seed=0)(features)
    assert bits.shape == (2, 2000)
    np.testing.assert_array_equal(bits[0], 1 - bits[1])
    # A share angle / pi of the bits differs, seen from the mean: here a right angle.
    cross = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    bits = fit_lsh(cross, num_bits=4000, seed=0)(cross)
    assert np.mean(bits[0] != bits[1]) == pytest.approx(0.5, abs=0.03)


def test_impossible_code_lengths_are_the_users_mistake():
    features = np.random.default_rng(0).standard_normal((20, 8))
    with pytest.raises(ValueError, match="9 bits.*8 features.*between 1 and 8"):
        fit_itq(features, num_bits=9, seed=0)
    with pytest.raises(ValueError, match="between 1 and 3"):
        fit_itq(features[:3], num_bits=4, seed=0)
    for fit in (fit_itq, fit_lsh):
        with pytest.raises(ValueError, match="0 bits"):
            fit(features, num_bits=0, seed=0)


@pytest.mark.parametrize("fit", [fit_itq, fit_lsh])
def test_features_are_checked(fit):
    with pytest.raises(ValueError, match=r"\(2, 3, 3\)"):
        fit(np.zeros((2, 3, 3)), num_bits=1, seed=0)
    with pytest.raises(ValueError, match="NaN"):
        fit(np.full((4, 3), np.nan), num_bits=1, seed=0)
    encode = fit(np.random.default_rng(0).standard_normal((9, 4)), num_bits=2, seed=0)
    with pytest.raises(ValueError, match=r"\[n, 4\].*\(2, 5\)"):
        encode(np.zeros((2, 5)))


def sparse_features(n, dim, dtype=np.float64, seed=0):
    """A tenth is not zero, and the columns' scales differ: the components are well apart."""
    dense = np.random.default_rng(seed).standard_normal((n, dim)) * np.arange(1, dim + 1)
    dense[np.random.default_rng(seed + 1).random((n, dim)) > 0.1] = 0
    return dense.astype(dtype)


# PCA of so few rows, or of so many more rows than columns, is exact for dense features.
@pytest.mark.parametrize("fit", [fit_itq, fit_lsh])
@pytest.mark.parametrize(("n", "dim"), [(300, 60), (60, 300), (4500, 30)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_features_give_the_codes_of_the_dense_ones(fit, n, dim, dtype):
    dense, unseen = sparse_features(n, dim, dtype), sparse_features(4200, dim, dtype, seed=5)
    expected = fit(dense, num_bits=12, seed=2)
    encode = fit(sp.csr_array(dense), num_bits=12, seed=2)
    for features in (dense, unseen):
        bits = expected(features)
        for stored in (sp.csr_array(features), sp.csr_matrix(features), sp.coo_array(features)):
            same = encode(stored) == bits
            # float32's components differ in the last digits, and with them values close to 0.
            assert same.all() if dtype == np.float64 else same.mean() > 0.999
        # One encoder takes both kinds.
        assert np.mean(encode(features) == bits) > 0.999


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), num_bits=st.integers(1, 9), n=st.integers(10, 40))
def test_sparse_and_dense_agree_wherever_values_are_clear_of_zero(seed, num_bits, n):
    dense = sparse_features(n, 10, seed=seed) + np.eye(n, 10)
    expected = fit_lsh(dense, num_bits=num_bits, seed=seed)(dense)
    bits = fit_lsh(sp.csr_array(dense), num_bits=num_bits, seed=seed)(sp.csr_array(dense))
    planes = np.random.default_rng(seed).standard_normal((10, num_bits))
    clear = np.abs((dense - dense.mean(axis=0)) @ planes) > 1e-9
    np.testing.assert_array_equal(bits[clear], expected[clear])


@pytest.mark.parametrize("fit", [fit_itq, fit_lsh])
def test_sparse_features_are_never_made_dense(fit, monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError("made dense")

    for kind in (sp.csr_array, sp.csr_matrix, sp.csc_array):
        for method in ("toarray", "todense"):
            monkeypatch.setattr(kind, method, forbidden)
    # As a dense array of float64 it would be 64 GB.
    features = sp.random_array((20_000, 400_000), density=1e-5, rng=0, dtype=np.float32).tocsr()
    bits = fit(features, num_bits=4, seed=0)(features)
    assert bits.shape == (20_000, 4) and bits.dtype == np.uint8


def test_sparse_features_are_checked():
    features = sp.csr_array(sparse_features(20, 8))
    with pytest.raises(ValueError, match="8 bits.*8 features.*between 1 and 7"):
        fit_itq(features, num_bits=8, seed=0)
    assert fit_itq(features, num_bits=7, seed=0)(features).shape == (20, 7)
    assert fit_lsh(features, num_bits=64, seed=0)(features).shape == (20, 64)
    for fit in (fit_itq, fit_lsh):
        encode = fit(features, num_bits=2, seed=0)
        with pytest.raises(ValueError, match=r"\[n, 8\].*\(20, 7\)"):
            encode(features[:, :7])
        with pytest.raises(ValueError, match="NaN"):
            fit(features * np.nan, num_bits=2, seed=0)
        with pytest.raises(ValueError, match=r"\(0, 8\)"):
            fit(features[:0], num_bits=2, seed=0)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 999), n=st.integers(1, 9), k=st.integers(1, 5), m=st.integers(1, 9))
def test_topics_are_cut_at_the_medians_of_the_training_documents(seed, n, k, m):
    rng = np.random.default_rng(seed)
    train, unseen = rng.integers(0, 4, (n, k)) / 7, rng.integers(0, 4, (m, k)) / 7
    medians = [
        (sorted(column)[(n - 1) // 2] + sorted(column)[n // 2]) / 2 for column in train.T.tolist()
    ]
    expected = [[int(x > medians[j]) for j, x in enumerate(row)] for row in unseen.tolist()]
    bits = median_codes(train)(unseen)
    np.testing.assert_array_equal(bits, expected)
    assert bits.dtype == np.uint8 and np.all(median_codes(train)(train).mean(axis=0) <= 0.5)


def test_topics_to_cut_are_checked():
    with pytest.raises(ValueError, match=r"\(3,\)"):
        median_codes(np.ones(3))
    with pytest.raises(ValueError, match=r"\(0, 3\)"):
        median_codes(np.ones((0, 3)))
    with pytest.raises(ValueError, match=r"\[n, 3\].*\(2, 4\)"):
        median_codes(np.ones((5, 3)))(np.ones((2, 4)))


def test_itq_rotation_is_checked():
    with pytest.raises(ValueError, match=r"\(3,\) and 1"):
        itq_rotation(np.zeros(3), seed=0, iterations=1)
    with pytest.raises(ValueError, match="-1"):
        itq_rotation(np.zeros((3, 2)), seed=0, iterations=-1)


def test_a_label_vector_is_repeated_as_often_as_it_fits():
    predicted = np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0]])
    codes = label_codes(predicted, num_bits=7)
    np.testing.assert_array_equal(
        codes, [[1, 0, 0, 1, 0, 0, 0], [0, 0, 1, 0, 0, 1, 0], [1, 1, 0, 1, 1, 0, 0]]
    )


def test_a_label_of_many_classes_is_its_number():
    codes = label_codes(np.eye(10), num_bits=4)
    assert codes.dtype == np.uint8 and len(np.unique(codes, axis=0)) == 10
    np.testing.assert_array_equal(codes @ [1, 2, 4, 8], np.arange(10))
    for predicted, num_bits in ((np.eye(10), 3), (np.ones((2, 10)), 4)):
        with pytest.raises(ValueError, match="10 classes do not fit"):
            label_codes(predicted, num_bits=num_bits)
