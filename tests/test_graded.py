"""Graded class codes: fitted to made-up logits, by hand, and through eval.py."""

import json
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from configs import smoke
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.forward import sigmoid, softmax
from dsh_jax.networks.graded import Graded, log_odds
from dsh_jax.retrieval.counts import distance_counts, without_self
from dsh_jax.retrieval.graded import fit_graded, fit_temperature
from dsh_jax.retrieval.ranking import average_precision
from dsh_jax.training.loop import train
from tests import corpus
from tests.commands import run_forked

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(4000, 5)) * 2
DRAWN = np.array([RNG.choice(5, p=p) for p in softmax(LOGITS)])


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_temperature_takes_back_a_scaling_of_the_logits(scale):
    assert fit_temperature(scale * LOGITS, DRAWN) == pytest.approx(scale, rel=0.1)


def test_the_temperature_of_several_labels():
    labels = (RNG.random(LOGITS.shape) < 1 / (1 + np.exp(-LOGITS))).astype(np.uint8)
    assert fit_temperature(3 * LOGITS, labels) == pytest.approx(3, rel=0.1)


def test_bits_by_hand():
    # Seven bits: three of class 0, two of the others, about -1.
    classes, thresholds = Graded(1.0, -1.0, 2.0).bits(3, 7)
    assert classes.tolist() == [0, 0, 0, 1, 1, 2, 2]
    np.testing.assert_allclose(thresholds, [-3, -1, 1, -2, 0, -2, 0])
    with pytest.raises(ValueError, match="3 classes need 3 bits or more, not 2"):
        Graded(1.0, 0.0, 1.0).bits(3, 2)


def test_codes_by_hand():
    # Logits over the temperature are [0, log 3]: the probabilities are 1/4 and 3/4, the log-odds
    # -log 3 = -1.1 and 1.1. Class 0 has thresholds -2, 0 and 2, class 1 has -1 and 1.
    logits = jnp.array([[0.0, 2 * np.log(3)], [2 * np.log(3), 0.0]])
    codes = Graded(2.0, 0.0, 2.0)(logits, num_bits=5, single=True)
    at = np.log(3)
    wanted = [[2 - at, -at, -2 - at, 1 + at, at - 1], [2 + at, at, at - 2, 1 - at, -1 - at]]
    np.testing.assert_allclose(codes, wanted, rtol=1e-5)


def test_log_odds_are_those_of_the_probabilities():
    logits = np.float32(LOGITS[:50])
    for single, chance in ((True, softmax(logits)), (False, sigmoid(logits))):
        odds = log_odds(jnp.asarray(logits), single=single)
        np.testing.assert_allclose(odds, np.log(chance / (1 - chance)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("num_bits", [5, 13])
def test_an_item_that_is_sure_has_all_bits_of_its_class_and_no_other(num_bits):
    graded = fit_graded(LOGITS[:300], DRAWN[:300], num_bits=num_bits)
    assert graded.temperature == pytest.approx(1, rel=0.3)
    codes = graded(jnp.eye(5) * 40, num_bits=num_bits, single=True)
    classes, _ = graded.bits(5, num_bits)
    np.testing.assert_array_equal(codes > 0, np.arange(5)[:, None] == classes)


def test_no_other_thresholds_of_the_grid_are_better():
    logits, labels = np.float32(LOGITS[:80]), DRAWN[:80]

    def score(graded):
        bits = np.asarray(graded(jnp.asarray(logits), num_bits=12, single=True) > 0)
        counts = distance_counts(bits, labels, bits, labels, num_bits=12)
        return average_precision(without_self(counts, labels)).mean()

    best = fit_graded(logits, labels, num_bits=12)
    others = [replace(best, middle=middle, step=step) for middle in (-2.0, 0.5)
              for step in (0.4, 2.5)]  # fmt: skip
    assert all(score(best) >= score(other) for other in others)


@pytest.mark.parametrize(
    ("num_items", "num_bits", "message"),
    [(10, 4, "5 classes need 5 bits or more, not 4"), (1, 8, "there are 1"), (0, 8, "are 0")],
)
def test_refusals(num_items, num_bits, message):
    with pytest.raises(ValueError, match=message):
        fit_graded(LOGITS[:num_items], DRAWN[:num_items], num_bits=num_bits)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    place = tmp_path_factory.mktemp("graded") / "run"
    config = smoke.get_config()
    config.update(gan=False, triplets="real")
    train(config, place, {})
    return place


def test_through_the_command_line(workdir, tmp_path):
    code, error = run_forked(tmp_path, "eval.py", f"--workdir={workdir}", "--baseline=graded")
    assert code == 0, error
    result = json.loads((workdir / "eval_graded.json").read_text())
    assert result["codes"] == "graded" and result["num_bits"] == 16
    assert 0.1 < result["map"] < 1
    with np.load(workdir / "codes_graded.npz") as codes:
        assert codes["database_codes"].shape[1] == 2


def test_documents_have_no_classifier(tmp_path):
    train(corpus.config(corpus.write(tmp_path / "corpus.jsonl")), tmp_path / "run", {})
    with pytest.raises(UserError, match="no classifier; leave out --baseline graded"):
        evaluate_workdir(tmp_path / "run", baseline="graded")
