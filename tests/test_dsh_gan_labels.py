"""The labels that DSH-GAN draws for negatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dsh_jax.methods import negatives


@settings(max_examples=60, deadline=None)
@given(
    label=hnp.arrays(np.float32, st.just(6), elements=st.sampled_from([0.0, 1.0])).filter(
        lambda label: not label.all()
    ),
    seed=st.integers(0, 2**31 - 1),
)
def test_other_label_shares_no_label(label, seed):
    other = np.asarray(negatives.other_label(jax.random.key(seed), jnp.asarray(label)))
    assert sorted(other) == [0, 0, 0, 0, 0, 1] and other.dtype == label.dtype
    assert not (other * label).any()


@pytest.mark.parametrize("label", [[0, 1, 0, 0, 0], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0]])
def test_other_label_draws_all_others_equally_often(label):
    n, label = 2000, np.array(label, np.float32)
    keys = jax.random.split(jax.random.key(0), n)
    drawn = jax.vmap(negatives.other_label, (0, None))(keys, jnp.asarray(label)).mean(0)
    others = label == 0
    # The standard deviation of a share of 1/3 of 2000 is 0.011.
    np.testing.assert_allclose(drawn[others], 1 / others.sum(), atol=0.05)
    np.testing.assert_array_equal(drawn[~others], 0)


def test_other_label_draws_what_it_always_drew():
    """A changed draw would make single-label runs others than they were."""
    keys = jax.random.split(jax.random.key(0), 8)
    drawn = jax.vmap(negatives.other_label)(keys, np.eye(8, dtype=np.float32))
    assert drawn.argmax(1).tolist() == [6, 7, 1, 2, 7, 3, 0, 4]


binary = st.sampled_from([0.0, 1.0])


@settings(max_examples=60, deadline=None)
@given(
    label=hnp.arrays(np.float32, 5, elements=binary),
    occurring=hnp.arrays(np.float32, (4, 5), elements=binary),
    seed=st.integers(0, 2**31 - 1),
)
def test_disjoint_label_is_one_that_occurs_or_one_that_lacks(label, occurring, seed):
    arguments = jnp.asarray(label), jnp.asarray(occurring)
    other = np.asarray(negatives.disjoint_label(jax.random.key(seed), *arguments))
    assert other.dtype == np.float32 and not (other * label).any()
    rows = [row.tolist() for row in occurring if not (row * label).any()]
    if rows:
        assert other.tolist() in rows
    else:
        assert sorted(other) == [0, 0, 0, 0, 0 if label.all() else 1]


def test_disjoint_label_draws_all_that_occur_equally_often():
    occurring = [[0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0], [1, 0, 0, 0]]
    keys = jax.random.split(jax.random.key(0), 2000)

    def draw(label, rows):
        arguments = jnp.asarray(label, jnp.float32), jnp.asarray(rows, jnp.float32)
        return jax.vmap(negatives.disjoint_label, (0, None, None))(keys, *arguments)

    drawn = np.asarray(draw([1, 0, 0, 0], occurring))
    for row in (0, 2, 3):
        # The standard deviation of a share of 1/3 of 2000 is 0.011.
        assert (drawn == occurring[row]).all(1).mean() == pytest.approx(1 / 3, abs=0.05)
    # None of the first three rows will do: one class of the two that are lacking.
    lacking = draw([0, 1, 0, 1], occurring[:3]).mean(0)
    np.testing.assert_allclose(lacking, [0.5, 0, 0.5, 0], atol=0.06)
