"""Graded class codes: fitted to made-up logits, by hand, and through eval.py."""

import json

import numpy as np
import pytest

from configs import smoke
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.forward import softmax
from dsh_jax.retrieval.graded import GradedCodes, fit_graded, fit_temperature, spread
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


def test_thresholds_by_hand():
    # Log-odds of log 3 are 3/4, of -log 3 are 1/4. Seven bits: three of class 0, two of the others.
    thresholds, classes = spread(3, 7, middle=0.0, step=np.log(3))
    assert classes.tolist() == [0, 0, 0, 1, 1, 2, 2]
    half = 1 / (1 + np.exp(-np.log(3) / 2))
    wanted = [1 / 4, 1 / 2, 3 / 4, 1 - half, half, 1 - half, half]
    np.testing.assert_allclose(thresholds, wanted, rtol=1e-6)
    thresholds, classes = spread(2, 2, middle=-np.log(3), step=9.0)
    np.testing.assert_allclose(thresholds, [1 / 4, 1 / 4], rtol=1e-6)


def test_codes_by_hand():
    # Logits over the temperature are [0, log 3]: the probabilities are 1/4 and 3/4.
    codes = GradedCodes(
        temperature=2.0, thresholds=np.array([0.1, 0.3, 0.5, 0.7, 0.9]),
        classes=np.array([0, 0, 1, 1, 1]), single=True,
    )  # fmt: skip
    logits = np.array([[0.0, 2 * np.log(3)], [2 * np.log(3), 0.0]])
    np.testing.assert_allclose(codes.probabilities(logits), [[1 / 4, 3 / 4], [3 / 4, 1 / 4]])
    assert codes(logits).tolist() == [[1, 0, 1, 1, 0], [1, 1, 0, 0, 0]]
    assert codes(logits).dtype == np.uint8


@pytest.mark.parametrize("num_bits", [5, 13])
def test_fitted_codes_rank_at_least_as_well_as_the_label(num_bits):
    logits, labels = LOGITS[:300], DRAWN[:300]
    codes = fit_graded(logits, labels, num_bits=num_bits)
    assert codes.thresholds.shape == codes.classes.shape == (num_bits,)
    assert codes.temperature == pytest.approx(1, rel=0.3)
    sure = np.eye(5)[labels] * 20
    bits = codes(sure)
    for label in range(5):  # an item that is sure of its class has all of its bits, and no other
        assert (bits[labels == label] == (codes.classes == label)).all()


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
