"""Learned exposure and correlated tags of SHTTM's codes, judged by loops over their entries."""

import jax.numpy as jnp
import numpy as np
import pytest

from dsh_jax.errors import UserError
from dsh_jax.methods import shttm_improvements, tag_correlation
from dsh_jax.methods.shttm_codes import learn_codes
from dsh_jax.methods.shttm_exposure import Exposure
from tests import corpus

WEIGHTS = {"present": 2.0, "missing": 0.05, "tag_ridge": 0.3, "topic_weight": 0.7,
           "dtype": "float64", "tolerance": 0.0}  # fmt: skip
UNSURE = Exposure(precision=3.0, alpha=2.0, beta=4.0)
# Fewer tags than bits, and more.
SHAPES = [(20, 3, 5), (25, 7, 3)]


def made(n, num_tags, bits):
    """Tags, some in no document and some documents without any; topics; and soft targets."""
    rng = np.random.default_rng(n)
    tags = (rng.random((n, num_tags)) < 0.3).astype(np.uint8)
    tags[:, -1], tags[n // 2] = 0, 0
    soft = rng.random((n, num_tags)) * 0.5
    return tags, rng.dirichlet(np.full(bits, 0.3), n), soft


def normal(t, mean, precision):
    return np.sqrt(precision / (2 * np.pi)) * np.exp(-precision * (t - mean) ** 2 / 2)


def slow_exposure(tags, wanted, codes, factors, mu, precision):
    """p of each document and tag, by Bayes' rule."""
    p = np.ones(tags.shape)
    for j, i in np.argwhere(tags == 0):
        seen = mu[i] * normal(wanted[j, i], factors[i] @ codes[j], precision)
        p[j, i] = seen / (seen + 1 - mu[i])
    return p


def slow_iteration(tags, wanted, topics, codes, factors, mu, unsure):
    """Expectation before each maximisation: of all tag factors, of all codes, of mu."""
    present, n = WEIGHTS["present"], len(tags)
    identity = np.eye(topics.shape[1])

    def expect():
        return slow_exposure(tags, wanted, codes, factors, mu, unsure.precision)

    p, new = expect(), np.zeros_like(factors)
    for i in range(tags.shape[1]):
        c = np.diag(present * p[:, i])
        gram = codes.T @ c @ codes + WEIGHTS["tag_ridge"] * identity
        new[i] = np.linalg.solve(gram, codes.T @ c @ wanted[:, i])
    factors = new
    p, new = expect(), np.zeros_like(codes)
    for j in range(n):
        c, gamma = np.diag(present * p[j]), WEIGHTS["topic_weight"]
        gram = factors.T @ c @ factors + gamma * identity
        new[j] = np.linalg.solve(gram, factors.T @ c @ wanted[j] + gamma * topics[j])
    codes = new
    mu = (unsure.alpha + expect().sum(axis=0) - 1) / (unsure.alpha + unsure.beta + n - 2)
    return codes, factors, mu


def slow_objective(tags, wanted, topics, codes, factors, mu, unsure):
    """Minus the log posterior, times two and scaled, term after term."""
    total = -2 * np.sum((unsure.alpha - 1) * np.log(mu) + (unsure.beta - 1) * np.log(1 - mu))
    for j, i in np.ndindex(*tags.shape):
        mean = factors[i] @ codes[j]
        if tags[j, i]:
            total += unsure.precision * (1 - mean) ** 2 - 2 * np.log(mu[i])
        else:
            seen = mu[i] * normal(wanted[j, i], mean, unsure.precision)
            total += -2 * np.log(seen + 1 - mu[i])
    ridges = WEIGHTS["tag_ridge"] * np.sum(factors**2)
    ridges += WEIGHTS["topic_weight"] * np.sum((codes - topics) ** 2)
    return WEIGHTS["present"] / unsure.precision * total + ridges


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("is_soft", [False, True])
def test_exposure_takes_the_steps_of_expectation_maximisation(shape, is_soft):
    tags, topics, soft = made(*shape)
    wanted = np.where(tags, 1.0, np.float32(soft) if is_soft else 0.0)
    state = topics, np.zeros((shape[1], shape[2])), (1 + tags.sum(axis=0)) / (4 + len(tags))
    given = {"exposure": UNSURE, "soft": soft if is_soft else None}
    for iterations in (1, 2, 3):
        state = slow_iteration(tags, wanted, topics, *state, UNSURE)
        found = learn_codes(tags, topics, iterations=iterations, **WEIGHTS, **given)
        for part, expected in zip(
            (found.codes, found.tag_factors, found.exposure), state, strict=True
        ):
            np.testing.assert_allclose(part, expected, rtol=1e-7, atol=1e-9)
        expected = slow_objective(tags, wanted, topics, *state, UNSURE)
        assert found.objectives[-1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("unsure", [UNSURE, Exposure(0.1, 1.0, 1.0), Exposure(50.0, 1.0, 1.0)])
def test_exposure_never_raises_its_objective(unsure):
    tags, topics, _ = made(60, 6, 4)
    tags[:, 0] = 1  # a tag that all documents have
    objectives = learn_codes(tags, topics, iterations=40, exposure=unsure, **WEIGHTS).objectives
    assert len(objectives) == 40 and (np.diff(objectives) <= 0).all()
    # In single precision it stops before rounding could raise it.
    coarse = learn_codes(tags, topics, iterations=40, exposure=unsure,
                         **WEIGHTS | {"dtype": "float32"})  # fmt: skip
    assert (np.diff(coarse.objectives) <= 0).all()
    assert coarse.objectives[-1] == pytest.approx(objectives[-1], rel=1e-3)
    # Also where the systems are nearly singular.
    small = WEIGHTS | {"dtype": "float32", "tag_ridge": 1e-3, "topic_weight": 1e-5}
    coarse = learn_codes(tags, 0.01 * topics, iterations=40, exposure=unsure, **small)
    assert (np.diff(coarse.objectives) <= 0).all()


def test_without_doubt_exposure_is_certain():
    # A prior that all documents are exposed: all tags count as much as a present one.
    tags, topics, _ = made(30, 4, 3)
    certain = Exposure(precision=1.0, alpha=1e12, beta=1.0)
    found = learn_codes(tags, topics, iterations=5, exposure=certain, **WEIGHTS)
    alike = WEIGHTS | {"missing": WEIGHTS["present"] * (1 - 1e-9)}
    plain = learn_codes(tags, topics, iterations=5, **alike)
    np.testing.assert_allclose(found.codes, plain.codes, rtol=1e-6)
    np.testing.assert_allclose(found.exposure, 1)
    assert plain.exposure is None


def test_a_tag_that_is_often_left_out_is_seldom_exposed():
    rng = np.random.default_rng(0)
    topics = np.repeat(np.eye(4), 40, axis=0) + 0.01 * rng.random((160, 4))
    tags = np.repeat(np.eye(4), 40, axis=0)
    tags[:40, 0] *= rng.random(40) < 0.4
    found = learn_codes(tags, topics, iterations=30, exposure=Exposure(30.0, 1.0, 1.0), **WEIGHTS)
    assert found.exposure[0] < 0.9 * found.exposure[1:].min()


def slow_soft_targets(tags, smoothing, weight):
    """Document after document, tag after tag."""
    soft = tags.astype(float)
    for j, i in np.argwhere(tags == 0):
        no_tag_brings_it = 1.0
        for s in np.flatnonzero(tags[j]):
            both = np.sum(tags[:, s] * tags[:, i])
            no_tag_brings_it *= 1 - both / (tags[:, s].sum() + smoothing)
        soft[j, i] = weight * (1 - no_tag_brings_it)
    return soft


def test_soft_targets_are_those_of_the_definition():
    tags, _, _ = made(40, 6, 3)
    shares = tag_correlation.shares(tags, smoothing=2.0)
    assert shares.dtype == np.float32 and not shares.diagonal().any()
    found = tag_correlation.soft_targets(
        jnp.asarray(tags, jnp.float32), jnp.asarray(shares), weight=0.7
    )
    np.testing.assert_allclose(found, slow_soft_targets(tags, 2.0, 0.7), atol=1e-6)
    assert np.max(np.where(tags, 0, found)) > 0.1


def test_a_soft_target_by_hand():
    # Two documents have tags 0 and 1, one has tag 0 alone: P(1 | 0) = 2 / (3 + 1).
    tags = np.array([[1, 1], [1, 1], [1, 0]])
    shares = tag_correlation.shares(tags, smoothing=1.0)
    np.testing.assert_allclose(shares, [[0, 0.5], [2 / 3, 0]])
    soft = tag_correlation.soft_targets(jnp.asarray(tags), jnp.asarray(shares), weight=0.4)
    np.testing.assert_allclose(soft, [[1, 1], [1, 1], [1, 0.2]], rtol=1e-6)


def test_correlated_tags_do_nothing_where_items_have_one_tag():
    rng = np.random.default_rng(0)
    tags = np.eye(5, dtype=np.float32)[rng.integers(0, 5, 30)]
    tags[3] = 0
    shares = tag_correlation.shares(tags, smoothing=5.0)
    soft = tag_correlation.soft_targets(jnp.asarray(tags), jnp.asarray(shares), weight=1.0)
    np.testing.assert_array_equal(soft, tags)
    topics = rng.dirichlet(np.ones(4), 30)
    plain, with_soft = (
        learn_codes(tags, topics, iterations=3, soft=given, **WEIGHTS) for given in (None, soft)
    )
    np.testing.assert_allclose(with_soft.codes, plain.codes, rtol=1e-12)
    assert with_soft.objectives == pytest.approx(plain.objectives, rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_soft_targets_change_right_hand_sides_alone(shape):
    tags, topics, soft = made(*shape)
    wanted = np.where(tags, 1.0, np.float32(soft))
    c = np.where(tags, WEIGHTS["present"], WEIGHTS["missing"])
    identity, codes = np.eye(shape[2]), topics
    for iterations in (1, 2):
        factors = np.stack([
            np.linalg.solve((codes.T * c[:, i]) @ codes + WEIGHTS["tag_ridge"] * identity,
                            (codes.T * c[:, i]) @ wanted[:, i])
            for i in range(shape[1])
        ])  # fmt: skip
        codes = np.stack([
            np.linalg.solve((factors.T * c[j]) @ factors + WEIGHTS["topic_weight"] * identity,
                            (factors.T * c[j]) @ wanted[j] + WEIGHTS["topic_weight"] * topics[j])
            for j in range(shape[0])
        ])  # fmt: skip
        found = learn_codes(tags, topics, iterations=iterations, soft=soft, **WEIGHTS)
        np.testing.assert_allclose(found.codes, codes, rtol=1e-6, atol=1e-9)
        objective = np.sum(c * (wanted - codes @ factors.T) ** 2)
        objective += WEIGHTS["tag_ridge"] * np.sum(factors**2)
        objective += WEIGHTS["topic_weight"] * np.sum((codes - topics) ** 2)
        assert found.objectives[-1] == pytest.approx(objective, rel=1e-9)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"exposure": Exposure(0.0, 1.0, 1.0)}, "exposure.precision is 0.0: choose"),
        ({"exposure": Exposure(1.0, 0.5, 1.0)}, "exposure.alpha is 0.5: choose 1 or more"),
        ({"exposure": Exposure(1.0, 1.0, np.nan)}, "exposure.beta is nan: choose 1 or more"),
        ({"soft": np.zeros((3, 3))}, "soft targets must be"),
        ({"soft": np.full((20, 3), 1.5)}, "soft targets must be"),
    ],
)
def test_what_callers_get_wrong(given, message):
    tags, topics, _ = made(20, 3, 5)
    with pytest.raises(ValueError, match=message):
        learn_codes(tags, topics, iterations=1, **WEIGHTS, **given)


def test_a_config_switches_both_on(tmp_path):
    config = corpus.config(tmp_path / "none.jsonl")
    tags = np.array([[1, 1], [1, 1], [1, 0]])
    assert shttm_improvements.options(config, tags) == {}
    config.codes.update(exposure=True, correlated_tags=True)
    config.correlation.update(weight=0.4, smoothing=1)
    found = shttm_improvements.options(config, tags)
    assert found["exposure"] == Exposure(1.0, 1.0, 1.0)
    assert found["soft"][2] == pytest.approx([1, 0.2])
    del config.exposure
    with pytest.raises(UserError, match="no field exposure.precision"):
        shttm_improvements.options(config, tags)
    # Configs of earlier versions have no such switches.
    for name in ("exposure", "correlated_tags"):
        del config.codes[name]
    assert shttm_improvements.options(config, tags) == {}
