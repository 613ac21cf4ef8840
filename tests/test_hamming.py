"""Hamming space, judged by counting differing bits one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsh_jax import hamming


def random_bits(seed: int, n: int, num_bits: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (n, num_bits), dtype=np.uint8)


def test_relaxed_distance_by_hand():
    a, b = jnp.array([0.0, 1.0, 0.25]), jnp.array([0.5, 1.0, 0.75])
    assert float(hamming.relaxed_distance(a, b)) == pytest.approx(0.25 + 0.25)
    gradient = jax.grad(hamming.relaxed_distance)(a, b)
    np.testing.assert_allclose(gradient, 2 * (np.array(a) - np.array(b)))


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.bool_])
def test_relaxed_distance_of_bits_is_the_hamming_distance(dtype):
    a, b = random_bits(0, 7, 20).astype(dtype), random_bits(1, 7, 20).astype(dtype)
    expected = [sum(x != y for x, y in zip(p, q, strict=True)) for p, q in zip(a, b, strict=True)]
    np.testing.assert_array_equal(jax.vmap(hamming.relaxed_distance)(a, b), expected)


def test_relaxed_distance_keeps_low_precision():
    code = jnp.ones(4, jnp.bfloat16)
    assert hamming.relaxed_distance(code, code).dtype == jnp.bfloat16


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((2, 3), (2, 3)), ((), ()), ((3,), (1, 3))])
def test_relaxed_distance_names_both_shapes(shapes):
    with pytest.raises(ValueError) as error:
        hamming.relaxed_distance(jnp.zeros(shapes[0]), jnp.zeros(shapes[1]))
    assert str(shapes[0]) in str(error.value) and str(shapes[1]) in str(error.value)


def test_binarize_is_strictly_above_half():
    relaxed = np.array([[0.0, 0.5, 0.5000001], [1.0, 0.49, 0.51]], np.float32)
    expected = [[0, 0, 1], [1, 0, 1]]
    for bits in (hamming.binarize(relaxed), jax.jit(hamming.binarize)(jnp.array(relaxed))):
        assert bits.dtype == np.uint8
        np.testing.assert_array_equal(bits, expected)
    assert isinstance(hamming.binarize(relaxed), np.ndarray)


def test_pack_by_hand():
    bits = np.array([[1, 0, 0, 0, 0, 0, 0, 1, 1, 1]])
    packed = hamming.pack(bits)
    assert packed.dtype == np.uint8
    np.testing.assert_array_equal(packed, [[0b10000001, 0b11000000]])
    np.testing.assert_array_equal(hamming.pack(bits.astype(bool)), packed)
    np.testing.assert_array_equal(hamming.pack(jnp.array(bits, jnp.float32)), packed)


@settings(max_examples=50, deadline=None)
@given(num_bits=st.integers(1, 140), n=st.integers(0, 5), seed=st.integers(0, 999))
def test_unpack_inverts_pack(num_bits, n, seed):
    bits = random_bits(seed, n, num_bits)
    packed = hamming.pack(bits)
    assert packed.shape == (n, (num_bits + 7) // 8)
    np.testing.assert_array_equal(hamming.unpack(packed, num_bits), bits)


@settings(max_examples=50, deadline=None)
@given(
    num_bits=st.integers(1, 140),
    n_query=st.integers(0, 4),
    n_database=st.integers(0, 6),
    seed=st.integers(0, 999),
)
def test_distances_count_differing_bits(num_bits, n_query, n_database, seed):
    query, database = (
        random_bits(seed, n_query, num_bits),
        random_bits(seed + 1, n_database, num_bits),
    )
    result = hamming.distances(hamming.pack(query), hamming.pack(database), num_bits)
    assert result.shape == (n_query, n_database) and result.dtype == np.int32
    for i in range(n_query):
        for j in range(n_database):
            assert result[i, j] == sum(x != y for x, y in zip(query[i], database[j], strict=True))


def test_distances_of_opposite_long_codes():
    zeros, ones = np.zeros((1, 1000), np.uint8), np.ones((1, 1000), np.uint8)
    assert hamming.distances(hamming.pack(zeros), hamming.pack(ones), 1000) == 1000


@pytest.mark.parametrize("bits", [np.zeros(8), np.zeros((2, 0)), np.full((2, 3), 0.7)])
def test_pack_refuses_what_is_not_bits(bits):
    with pytest.raises(ValueError, match=str(bits.shape).replace("(", r"\(").replace(")", r"\)")):
        hamming.pack(bits)


@pytest.mark.parametrize(
    ("packed", "num_bits", "message"),
    [
        (np.zeros((2, 1), np.uint8), 9, r"\[n, 2\].*\(2, 1\)"),
        (np.zeros((2, 3), np.uint8), 16, r"\[n, 2\].*\(2, 3\)"),
        (np.zeros(2, np.uint8), 16, r"\(2,\)"),
        (np.zeros((2, 2), np.int64), 16, "int64"),
        (np.array([[0, 0b00010000]], np.uint8), 11, r"\(1, 2\).*padding"),
        (np.zeros((2, 1), np.uint8), 0, "num_bits"),
    ],
)
def test_packed_codes_are_checked(packed, num_bits, message):
    with pytest.raises(ValueError, match=message):
        hamming.unpack(packed, num_bits)
    with pytest.raises(ValueError, match=message):
        hamming.distances(packed, packed, num_bits)


def test_distances_name_the_side_that_is_wrong():
    good, bad = np.zeros((1, 2), np.uint8), np.zeros((1, 3), np.uint8)
    with pytest.raises(ValueError, match="query_codes"):
        hamming.distances(bad, good, 16)
    with pytest.raises(ValueError, match="database_codes"):
        hamming.distances(good, bad, 16)
    hamming.check_packed(np.array([[0, 0b00100000]], np.uint8), 11)  # the last real bit may be set
