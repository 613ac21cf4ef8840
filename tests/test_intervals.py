"""Paired differences: hand-computed numbers, exact enumeration, antisymmetry and coverage."""

import itertools
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dsh_jax.report.spread import mean_and_deviation
from tools.intervals import Interval, bootstrap, t_interval

SCORES = st.floats(-1, 1).map(lambda x: round(x, 5))
DRAWS = st.lists(st.lists(SCORES, min_size=1, max_size=9), min_size=1, max_size=4)


def test_mean_and_deviation_by_hand():
    # Deviations -0.2, -0.1, 0.3: variance (0.04 + 0.01 + 0.09) / 2 = 0.07.
    assert mean_and_deviation([0.2, 0.3, 0.7]) == pytest.approx((0.4, 0.07**0.5))
    assert mean_and_deviation([0.5]) == (0.5, None)


def test_a_t_interval_by_hand():
    # Mean 2, standard deviation 1, error 1 / sqrt(3); 4.3027 is the quantile of 2 degrees of
    # freedom in every table, where t = 2 sqrt(3) has p = 1 - t / sqrt(2 + t^2).
    found = t_interval([1.0, 2.0, 3.0])
    half = 4.30265 / 3**0.5
    t = 2 * 3**0.5
    assert found.mean == 2 and found.p == pytest.approx(1 - t / (2 + t * t) ** 0.5)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), abs=1e-4)


@given(st.lists(SCORES, min_size=3, max_size=8).filter(lambda x: np.std(x) > 1e-4))
def test_a_t_interval_is_that_of_scipy(differences):
    found, theirs = t_interval(differences), stats.ttest_1samp(differences, 0)
    assert found.p == pytest.approx(theirs.pvalue, abs=1e-9)
    interval = theirs.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_equal_differences_have_no_width():
    assert t_interval([0.25] * 3) == Interval(0.25, 0.25, 0.25, 0.0)
    assert t_interval([0.0] * 4) == Interval(0.0, 0.0, 0.0, 1.0)
    assert bootstrap([[0.25, 0.25], [0.25]]).low == 0.25
    assert bootstrap([[0.0] * 5]) == Interval(0.0, 0.0, 0.0, 1.0)


def test_the_bootstrap_of_two_queries_by_hand():
    # A resample is (0, 0), (0, 1), (1, 0) or (1, 1): means 0, 1/2 and 1 in shares 1/4, 1/2, 1/4.
    found = bootstrap([[0.0, 1.0]], resamples=4000)
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)
    assert found.p == pytest.approx(2 / 4, abs=0.05)  # a quarter of the means is not above 0


def every_nested_mean(draws):
    """The means of all equally likely resamples of draws, and of queries in each picked one."""
    means = []
    for picked in itertools.product(draws, repeat=len(draws)):
        of_draws = [[np.mean(q) for q in itertools.product(d, repeat=len(d))] for d in picked]
        # A pick has as many resamples as every other: all draws here have equally many queries.
        means += [np.mean(chosen) for chosen in itertools.product(*of_draws)]
    return np.array(means)


def every_crossed_mean(draws):
    """The same, where all picked draws take the same queries."""
    values, queries = np.array(draws), range(len(draws[0]))
    return np.array([
        values[np.ix_(picked, chosen)].mean()
        for picked in itertools.product(range(len(draws)), repeat=len(draws))
        for chosen in itertools.product(queries, repeat=len(queries))
    ])  # fmt: skip


@pytest.mark.parametrize(("same_queries", "every"), [(False, every_nested_mean),
                                                     (True, every_crossed_mean)])  # fmt: skip
def test_the_bootstrap_is_that_of_all_resamples(same_queries, every):
    draws = [[0.1, -0.3, 0.2], [0.4, 0.1, 0.25]]
    means = every(draws)
    found = bootstrap(draws, same_queries=same_queries, resamples=40_000)
    for end, share in ((found.low, 0.025), (found.high, 0.975)):
        assert np.mean(means < end - 1e-9) - 0.005 < share < np.mean(means <= end + 1e-9) + 0.005
    assert found.p == pytest.approx(2 * np.mean(means <= 0), abs=0.01)
    assert found.mean == pytest.approx(np.mean(draws))


def test_draws_of_one_split_share_the_choice_of_queries():
    # The queries differ and the draws do not: with one set of queries the choice matters in full.
    of_query = np.linspace(-0.5, 0.7, 30)
    wide = bootstrap([of_query] * 4, same_queries=True)
    narrow = bootstrap([of_query] * 4)
    assert wide.high - wide.low == pytest.approx(2 * (narrow.high - narrow.low), rel=0.1)


@settings(max_examples=50, deadline=None)
@given(draws=DRAWS, seed=st.integers(0, 99))
def test_the_other_way_round_is_the_negative(draws, seed):
    found = bootstrap(draws, resamples=200, seed=seed)
    other = bootstrap([[-x for x in draw] for draw in draws], resamples=200, seed=seed)
    assert (other.mean, other.low, other.high) == pytest.approx(
        (-found.mean, -found.high, -found.low), abs=1e-12
    )
    assert other.p == found.p and found.low - 1e-12 <= found.high and 0 < found.p <= 1
    means = [float(np.mean(draw)) for draw in draws]
    if len(draws) >= 3:
        one, negative = t_interval(means), t_interval([-x for x in means])
        assert (one.mean, one.low, one.high, one.p) == pytest.approx(
            (-negative.mean, -negative.high, -negative.low, negative.p)
        )


def test_large_draws_are_resampled_in_blocks(monkeypatch):
    draws = [np.random.default_rng(k).normal(0.1, 1, 50) for k in range(3)]
    whole = {same: bootstrap(draws, same_queries=same, resamples=300) for same in (False, True)}
    monkeypatch.setattr("tools.intervals._CELLS", 64)
    for same, found in whole.items():
        again = bootstrap(draws, same_queries=same, resamples=300)
        assert astuple(again) == pytest.approx(astuple(found), abs=1e-12)


def coverage(interval, simulate, trials=400):
    """The share of simulated experiments whose interval holds the true difference of 0.3."""
    rng = np.random.default_rng(0)
    found = [interval(simulate(rng)) for _ in range(trials)]
    return np.mean([x.low <= 0.3 <= x.high for x in found])


def of_draws(rng):
    """Five draws that differ, with 40 queries each."""
    return [rng.normal(mean, 0.4, 40) for mean in rng.normal(0.3, 0.1, 5)]


def test_intervals_hold_the_truth_as_often_as_they_say():
    # With 400 trials the standard error of 0.95 is 0.011.
    assert 0.92 < coverage(t_interval, lambda rng: [d.mean() for d in of_draws(rng)]) < 0.98
    of_queries = coverage(lambda d: bootstrap(d, resamples=500),
                          lambda rng: [rng.normal(0.3, 1, 200)])  # fmt: skip
    assert 0.92 < of_queries < 0.98
    # The percentile bootstrap of five draws is somewhat too narrow.
    assert 0.85 < coverage(lambda d: bootstrap(d, resamples=500), of_draws) < 0.98


@pytest.mark.parametrize("differences", [[], [0.1], [0.1, 0.2]])
def test_a_t_interval_needs_draws(differences):
    with pytest.raises(ValueError, match=f"3 draws or more, got {len(differences)}"):
        t_interval(differences)


@pytest.mark.parametrize(("draws", "same"), [([], False), ([[]], False), ([[0.1], []], False),
                                             ([[0.1], [0.1, 0.2]], True)])  # fmt: skip
def test_a_bootstrap_needs_queries(draws, same):
    with pytest.raises(ValueError, match="draws"):
        bootstrap(draws, same_queries=same)
