"""`evaluate_workdir` on workdirs made without training: which checkpoint, which items, which file.

That the written numbers follow from the written codes is tested in `test_cli.py`, and the metrics
themselves in `test_metrics.py`.
"""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from signatures import classify

from configs import smoke
from dsh_jax import evaluation_codes, hamming, measuring
from dsh_jax.data.splits.split import save as save_split
from dsh_jax.encoder_files import describe, save_description
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.files import write_json
from dsh_jax.report import page
from dsh_jax.retrieval import evaluate
from dsh_jax.training.experiment import prepare
from dsh_jax.training.saving import CheckpointWriter
from dsh_jax.training.workdir import as_dict

BEST, LATEST = 2, 5  # steps of the two checkpoints
RUN = {"command": "python train.py --config configs/smoke.py"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(workdir, experiment, step -> state): untrained states, the earlier with the higher mAP."""
    workdir = tmp_path_factory.mktemp("evaluation") / "run"
    config = smoke.get_config()
    experiment = prepare(config, workdir)
    init = jax.jit(experiment.method.init)
    states = {step: init(jax.random.key(step)) for step in (BEST, LATEST)}
    checkpoints = CheckpointWriter(workdir / "checkpoints", keep=2)
    for step, score in ((BEST, 0.9), (LATEST, 0.1)):
        checkpoints.save(step, states[step], seconds=10.0 * step, validation_map=score)
    checkpoints.close()
    write_json(workdir / "config.json", as_dict(config))
    write_json(workdir / "run.json", RUN)
    save_split(experiment.split, workdir / "split.json")
    save_description(
        describe(experiment.config, experiment.signature, experiment.method.codes), workdir
    )
    return workdir, experiment, states


def measure(workdir, **options):
    return evaluate_workdir(workdir, **options)


@pytest.mark.parametrize(("which", "step"), [("best", BEST), ("latest", LATEST)])
def test_the_checkpoint_asked_for_makes_the_codes(made, which, step):
    workdir, experiment, states = made
    result = measure(workdir, checkpoint=which)
    assert (result["checkpoint"], result["step"]) == (which, step)
    assert result["train_seconds"] == pytest.approx(10 * step)
    assert result["run"] == RUN
    assert result == json.loads((workdir / "eval.json").read_text())

    # All items of a role in one call, without padding; bits close to 0.5 may round either way.
    codes = np.load(workdir / "codes.npz")
    for role in ("query", "database"):
        ids = getattr(experiment.split, role)
        relaxed = experiment.method.encode(states[step], experiment.dataset.take(ids))
        bits = hamming.unpack(codes[f"{role}_codes"], 16)
        clear = np.abs(np.asarray(relaxed) - 0.5) > 1e-4
        assert clear.mean() > 0.99
        assert np.array_equal(bits[clear], np.asarray(relaxed > 0.5)[clear])
        assert np.array_equal(codes[f"{role}_labels"], experiment.dataset.labels[ids])


def test_what_the_result_says_of_the_split(made):
    workdir, experiment, _ = made
    result, split = measure(workdir), experiment.split
    assert result["split_checksum"] == split.checksum and result["protocol"] == split.protocol
    assert result["query_checksum"] == split.query_checksum
    assert replace(split, seed=5).query_checksum == split.query_checksum
    assert replace(split, query=split.query[1:]).query_checksum != split.query_checksum
    assert result["num_labeled"] == len(split.labeled) == 200
    assert result["num_validation"] == len(split.validation) == 200
    assert result["num_unlabeled"] == len(split.unlabeled) == 1797 - 100 - 200 - 200
    assert result["split_seed"] == experiment.config.data.split_seed == 0
    assert (result["dataset"], result["dataset_version"]) == ("digits", "1")
    assert result["seed"] == 0 and result["codes"] == "synthetic"
    assert result["clipped_cuts"] == {"5000": 1697}


@pytest.mark.parametrize("baseline", ["", "lsh", "classifier"])
def test_what_paired_statistics_need_is_in_every_result(made, baseline):
    workdir, experiment, _ = made
    result = measure(workdir, baseline=baseline)
    values = result["query_average_precision"]
    assert len(values) == len(experiment.split.query) == 100
    assert np.mean(values) == pytest.approx(result["map"], abs=1e-5)
    spread = np.std(values, ddof=1) / 10
    assert result["standard_error"]["map"] == pytest.approx(spread, abs=1e-5)
    assert 0 < result["standard_error"]["precision_at_100"] < 0.1
    assert result["num_validation"] == 200 and result["split_seed"] == 0
    codes = np.load(workdir / f"codes{'_' * bool(baseline)}{baseline}.npz")
    first = evaluate(
        codes["query_codes"][:1], codes["query_labels"][:1], codes["database_codes"],
        codes["database_labels"], num_bits=16,
    )  # fmt: skip
    assert values[0] == round(first["map"], 5)  # in the order of the queries' ids


@pytest.mark.parametrize("name", ["itq", "lsh"])
def test_a_baseline_sees_what_training_may_see(made, monkeypatch, name):
    workdir, experiment, _ = made
    fit, fitted = evaluation_codes.FITS[name], []

    def record(features, **options):
        fitted.append((features, options))
        return fit(features, **options)

    monkeypatch.setitem(evaluation_codes.FITS, name, record)
    result = measure(workdir, baseline=name)
    ((features, options),) = fitted
    split, images = experiment.split, experiment.dataset.images
    held = set(split.query) | set(split.validation)
    seen = [i for i in range(len(images)) if i not in held]
    assert np.array_equal(features, images[seen].reshape(len(seen), -1) / np.float32(255))
    assert options == {"num_bits": 16, "seed": 0}

    assert result["codes"] == name and result["run"] == {} and "train_seconds" not in result
    assert result["split_checksum"] == split.checksum
    assert result == json.loads((workdir / f"eval_{name}.json").read_text())
    codes = np.load(workdir / f"codes_{name}.npz")
    encoder = fit(features, **options)
    flat = images[split.query].reshape(100, -1) / np.float32(255)
    assert np.array_equal(hamming.unpack(codes["query_codes"], 16), encoder(flat))
    assert result["map"] > 0.2  # chance is 0.1


def test_the_classifiers_label_as_a_code(made):
    workdir, experiment, states = made
    result = measure(workdir, baseline="classifier")
    assert (result["codes"], result["step"]) == ("classifier", BEST)
    codes = np.load(workdir / "codes_classifier.npz")
    ids = experiment.split.query
    logits = classify(experiment.method, states[BEST], experiment.dataset.take(ids))
    bits = hamming.unpack(codes["query_codes"], 16)
    assert np.array_equal(bits[:, :10].argmax(axis=1), np.argmax(logits, axis=1))
    assert np.array_equal(bits.sum(axis=1), np.ones(len(ids)))


def test_the_conventions_asked_for_measure(made):
    workdir, _, _ = made
    expected, stable = measure(workdir), measure(workdir, conventions="stable/hits_in_top_k")
    assert expected["conventions"] == "expected/reachable/zero"
    assert stable["conventions"] == "stable/hits_in_top_k/zero"
    worst, best = expected["tie_band"]["map"]
    assert worst <= stable["map"] <= best and stable["map"] != expected["map"]


def test_the_report_is_made_from_the_counts_of_the_evaluation(made, monkeypatch):
    workdir, experiment, _ = made
    count, counted, reported = measuring.distance_counts, [], {}

    def record(*arguments, **options):
        assert options["devices"] == experiment.devices
        counted.append(count(*arguments, **options))
        return counted[-1]

    monkeypatch.setattr(measuring, "distance_counts", record)
    monkeypatch.setattr(
        page, "write_report", lambda folder, **rest: reported.update(rest, folder=folder)
    )
    result = measure(workdir, baseline="lsh", report=True)
    assert len(counted) == 1 and reported["counts"] is counted[0]
    assert reported["result"] == result and reported["folder"] == workdir / "report_lsh"
    saved = np.load(workdir / "codes_lsh.npz")
    assert reported["codes"].keys() == set(saved)


def test_two_evaluations_write_the_same(made):
    workdir, _, _ = made
    first = measure(workdir), (workdir / "eval.json").read_bytes()
    codes = dict(np.load(workdir / "codes.npz"))
    assert (measure(workdir), (workdir / "eval.json").read_bytes()) == first
    again = np.load(workdir / "codes.npz")
    assert codes.keys() == set(again) and all(np.array_equal(codes[k], again[k]) for k in codes)
    assert not list(workdir.glob("*.tmp"))


def test_data_that_has_moved(made, monkeypatch):
    workdir, experiment, _ = made
    asked = []

    def load(source, data_dir):
        asked.append((source, data_dir))
        return experiment.dataset

    monkeypatch.setattr("dsh_jax.data.images.built_in.load", load)
    measure(workdir, baseline="lsh", data_dir="elsewhere")
    measure(workdir, baseline="lsh")
    assert asked == [("digits", "elsewhere"), ("digits", None)]


def test_other_data_than_the_split_was_drawn_from(made, monkeypatch):
    workdir, experiment, _ = made
    labels = experiment.dataset.labels[::-1].copy()
    other = type(experiment.dataset)(
        name="digits", version="1", images=experiment.dataset.images, labels=labels,
        is_test=experiment.dataset.is_test, class_names=experiment.dataset.class_names,
    )  # fmt: skip
    monkeypatch.setattr("dsh_jax.data.images.built_in.load", lambda *_: other)
    with pytest.raises(UserError, match="split.json is not the split"):
        measure(workdir, baseline="lsh")


def test_no_workdir(tmp_path):
    with pytest.raises(UserError, match="there is no workdir .*none"):
        measure(tmp_path / "none")
    assert not (tmp_path / "none").exists()
