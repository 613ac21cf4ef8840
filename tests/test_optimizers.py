"""Optimizers against loops in NumPy, schedules by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from dsh_jax.methods.optimizers import learning_rates, optimizer

SETTINGS = dict(name="sgd", learning_rate=0.5, b1=0.0, b2=0.999, weight_decay=0.0,
                schedule="constant", warmup_steps=0, clip_norm=0.0, num_steps=6)  # fmt: skip


def path(gradients, params, **changes):
    """Parameters after each update, by an optimizer with changed settings."""
    tx = optimizer(**SETTINGS | changes)
    state, seen = tx.init(params), []
    for gradient in gradients:
        updates, state = tx.update(gradient, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        seen.append(params)
    return seen


def test_sgd_has_nesterovs_momentum_and_decays_kernels():
    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=(2, 3)), "bias": rng.normal(size=3)}
    params = jax.tree.map(np.float32, params)
    gradients = [jax.tree.map(lambda p: np.float32(rng.normal(size=p.shape)), params)
                 for _ in range(4)]  # fmt: skip
    actual = path(gradients, params, b1=0.9, weight_decay=0.1, learning_rate=0.2)
    velocity = jax.tree.map(np.zeros_like, params)
    for after, gradient in zip(actual, gradients, strict=True):
        for name, decay in (("kernel", 0.1), ("bias", 0.0)):
            velocity[name] = gradient[name] + 0.9 * velocity[name]
            ahead = gradient[name] + 0.9 * velocity[name]
            params[name] = params[name] - 0.2 * (ahead + decay * params[name])
            np.testing.assert_allclose(after[name], params[name], rtol=1e-5)


def test_quarter_cosine_by_hand():
    # Two steps of warm-up from 0 to 0.5, then 0.5 cos(t / 4 90 degrees) for t = 0, 1, 2, 3 and 0.
    steps = path([jnp.ones(1)] * 8, jnp.zeros(1), schedule="quarter_cosine", warmup_steps=2)
    rates = -np.diff(np.concatenate([[0], *steps]))
    quarter = [0.5 * math.cos(math.radians(90 * t / 4)) for t in range(4)]
    np.testing.assert_allclose(rates, [0, 0.25, *quarter, 0, 0], atol=1e-6)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "quarter_cosine"])
def test_schedules_fall_to_zero(schedule):
    steps = path([jnp.ones(1)] * 7, jnp.zeros(1), schedule=schedule)
    rates = -np.diff(np.concatenate([[0], *steps]))
    assert rates[0] == 0.5 and rates[6] == pytest.approx(0, abs=1e-6)
    assert (np.diff(rates) < 0).all()


def test_clipping_bounds_the_gradient_of_sgd():
    (after,) = path([jnp.array([3.0, 4.0])], jnp.zeros(2), clip_norm=1.0)
    np.testing.assert_allclose(after, [-0.3, -0.4], rtol=1e-5)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_learning_rates_that_are_logged_are_those_used(schedule):
    settings = SETTINGS | {"schedule": schedule, "warmup_steps": 2}
    config = ConfigDict({"optimizer": {"hash": settings, "generator": settings}})
    rates = learning_rates(config, {"hash": 4, "generator": 6})
    logged = [jax.tree.map(float, rates(step)) for step in range(1, 7)]
    for name, count in (("hash", 4), ("generator", 6)):
        values = path([jnp.ones(1)] * count, jnp.zeros(1), **settings | {"num_steps": count})
        used = -np.diff(np.concatenate([[0], *values]))
        of_name = [row[name] for row in logged]
        np.testing.assert_allclose(of_name[6 - count :], used, atol=1e-6)  # both end together
        assert of_name[: 6 - count] == [used[0]] * (6 - count)
