"""A DSH-GAN run with several labels per image, hinge losses, spectral norms and averages."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from signatures import build_for_images

from dsh_jax.methods import base
from tests.small_dsh_gan import (
    BATCH,
    IMAGE_SHAPE,
    LABEL,
    MULTI_HOT,
    NUM_CLASSES,
    assert_every_leaf_moved,
    assert_near,
    assert_same,
    compiled,
    leaves,
    make_batch,
    make_config,
    method_and_state,
)

EMA_DECAY = 0.05


def own_triplet(anchor, positive, negative, *, scale):
    return scale + jnp.sum(jnp.square(anchor - positive)) - jnp.sum(anchor * negative)


@lru_cache
def hinge_method():
    config = make_config(loss__labels="multi", loss__adversarial="hinge", ema_decay=EMA_DECAY)
    config.representation.spectral_norm = True
    config.loss.triplet = f"{__name__}:own_triplet"
    config.loss.triplet_options = {"scale": 100.0}
    return build_for_images(config, IMAGE_SHAPE, NUM_CLASSES)


@pytest.fixture(scope="module")
def hinge_run():
    method = hinge_method()
    state = jax.tree.map(np.asarray, jax.jit(method.init)(jax.random.key(1)))
    step, states, metrics = compiled(method.stages[1].step), [state], []
    for _ in range(30):
        state, m = step(states[-1], make_batch(MULTI_HOT))
        states, metrics = [*states, state], [*metrics, m]
    return states, metrics


def test_multi_label_hinge_run_stays_finite(hinge_run):
    states, metrics = hinge_run
    assert all(np.isfinite(value) for row in metrics for value in row.values())
    # One leaf may stand still: where all hinges are active, 1 - x of real and 1 + x of synthetic
    # images move the adversary's bias by as much up as down.
    before, after = ({player: params for player, params in state.params.items()
                      if player != "adversary"} for state in (states[0], states[-1]))  # fmt: skip
    assert_every_leaf_moved(after, before)
    # At first every sigmoid is near 1/2: the sum of the three classes' losses is 3 log 2 = 2.08.
    assert 1.5 < metrics[0]["hash/classification"] < 4


def test_spectral_norm_divides_by_the_largest_singular_value(hinge_run):
    last = hinge_run[0][-1]
    for player, stats in last.batch_stats.items():
        if player not in ("representation", "adversary"):
            continue
        sigmas = {path: leaf for path, leaf in leaves(stats).items() if "sigma" in path}
        kernels = {path: leaf for path, leaf in leaves(last.params[player]).items()
                   if "kernel" in path and ("Conv" in path or player == "adversary")}  # fmt: skip
        assert len(sigmas) == len(kernels) == (3 if player == "representation" else 1)
        for sigma, kernel in zip(sigmas.values(), kernels.values(), strict=True):
            largest = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
            assert largest / sigma == pytest.approx(1, abs=0.03)


def test_a_users_triplet_loss_is_used(hinge_run):
    # It lies between scale - num_bits and scale + num_bits.
    for name in ("hash/triplet", "generator/triplet"):
        assert 96 < hinge_run[1][0][name] < 104
    assert hinge_run[1][0]["hash/active_triplets"] == 1


def test_averages_follow_parameters_and_statistics(hinge_run):
    (start, first, *_), _ = hinge_run
    assert set(start.ema) == {"generator", "representation", "hash", "classification"}
    for player, average in start.ema.items():
        assert_same(average, base.variables(start, player))
        # decay = min(0.05, (1 + 0) / (10 + 0))
        wanted = jax.tree.map(
            lambda old, new: EMA_DECAY * old + (1 - EMA_DECAY) * new,
            average, base.variables(first, player),
        )  # fmt: skip
        assert_near(first.ema[player], wanted)


def test_codes_and_samples_come_from_the_averages(hinge_run):
    method, state = hinge_method(), hinge_run[0][-1]
    encode, key = jax.jit(method.encode), jax.random.key(0)
    codes, images = encode(state, make_batch()), method.synthesize(state, key, LABEL)
    assert codes.shape == (BATCH, 4) and images.shape == (BATCH, *IMAGE_SHAPE)
    params = {player: average["params"] for player, average in state.ema.items()}
    stats = {player: average["batch_stats"] for player, average in state.ema.items()
             if "batch_stats" in average}  # fmt: skip
    assert stats
    other = state.replace(params=state.params | params, batch_stats=state.batch_stats | stats)
    np.testing.assert_array_equal(encode(other, make_batch()), codes)
    without = jax.jit(method.encode)(other.replace(ema={}), make_batch())
    np.testing.assert_allclose(without, codes, rtol=1e-5, atol=1e-6)
    unaveraged = jax.jit(method.encode)(state.replace(ema={}), make_batch())
    assert not np.allclose(unaveraged, codes, rtol=1e-4)
    np.testing.assert_allclose(
        method.synthesize(other.replace(ema={}), key, LABEL), images, rtol=1e-4, atol=1e-5
    )


def test_without_averages_there_are_none():
    assert method_and_state()[1].ema == {}


def test_the_average_begins_close_and_ends_slow():
    params, ema = {"p": jnp.ones(1)}, {"p": {"params": jnp.zeros(1)}}
    state = base.State(jnp.int32(0), params, {}, {}, ema)
    # decay = min(0.999, (1 + step) / (10 + step)): 1/10 at step 0, 100/109 at 99, 0.999 at 10**6.
    for step, decay in ((0, 0.1), (99, 100 / 109), (10**6, 0.999)):
        after = base.advance(state.replace(step=jnp.int32(step)), 0.999)
        np.testing.assert_allclose(after.ema["p"]["params"], [1 - decay], rtol=1e-3)
        assert after.step == step + 1
