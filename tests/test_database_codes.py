"""Codes learned for training documents, kept for the database: found, measured, and refused."""

import json
import shutil

import numpy as np
import pytest

from dsh_jax import database_codes, hamming, load_encoder
from dsh_jax.data.splits.split import load as load_split
from dsh_jax.data.targets import Targets
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.files import read_json, write_json
from dsh_jax.search.code_files import of_codes
from dsh_jax.training.experiment import prepare
from dsh_jax.training.loop import train
from tests import corpus
from tests.commands import tree
from tests.messages import one_sentence


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(workdir with learned codes, evaluated; its config; its result)."""
    folder = tmp_path_factory.mktemp("learned")
    config = corpus.config(corpus.write(folder / "corpus.jsonl"))
    config.codes.database_codes = "learned"
    train(config, folder / "run", {"command": "test"})
    return folder / "run", config, evaluate_workdir(folder / "run", report=True)


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained[0], tmp_path / "copy")


def test_training_documents_keep_what_was_learned_for_them(trained, tmp_path):
    workdir, config, result = trained
    assert result["database_codes"] == "learned"
    assert json.loads((workdir / "eval.json").read_text())["database_codes"] == "learned"
    assert "learned, of training documents" in (workdir / "report/report.html").read_text()

    experiment = prepare(config, tmp_path / "none")
    dataset, split = experiment.dataset, experiment.split
    learned = experiment.method.fit(dataset, split, lambda *_: None).codes
    by_function = load_encoder(workdir).encode([dataset.texts[row] for row in range(len(dataset))])
    wanted = by_function.copy()
    wanted[split.training] = learned
    assert (wanted != by_function).any()
    assert set(split.query) <= set(range(len(dataset))) - set(split.training)

    saved = np.load(workdir / "codes.npz")
    for part in ("", "query_", "database_"):
        np.testing.assert_array_equal(saved[f"{part}codes"], wanted[saved[f"{part}ids"]])
    # An index of these codes finds the learned ones.
    indexed = of_codes(workdir / "codes.npz").entries
    codes = np.stack([np.frombuffer(entry.code, np.uint8) for entry in indexed])
    np.testing.assert_array_equal(codes, saved["codes"])


def test_learned_codes_are_signs_of_the_relaxed_codes(tmp_path):
    """In the published form: above the median of each bit, so half of each."""
    config = corpus.config(corpus.write(tmp_path / "c.jsonl"))
    config.codes.update(
        {"rotation": False, "fitted_to": "codes", "thresholds": "median",
         "database_codes": "learned"}
    )  # fmt: skip
    experiment = prepare(config, tmp_path / "none")
    fitted = experiment.method.fit(experiment.dataset, experiment.split, lambda *_: None)
    bits = hamming.unpack(fitted.codes, config.num_bits)
    assert len(bits) == len(experiment.split.training)
    np.testing.assert_allclose(bits.mean(axis=0), 0.5, atol=0.02)


def test_a_workdir_without_the_choice_is_encoded_by_the_function(copy):
    by_learned = np.load(copy / "codes.npz")["codes"]
    config = read_json(copy / "config.json")
    config["codes"]["database_codes"] = "function"
    write_json(copy / "config.json", config)
    assert evaluate_workdir(copy)["database_codes"] == "function"
    by_function = np.load(copy / "codes.npz")["codes"]
    assert (by_function != by_learned).any()
    del config["codes"]["database_codes"]  # as before there was a choice
    write_json(copy / "config.json", config)
    (copy / database_codes.FILE).unlink()
    assert "database_codes" not in evaluate_workdir(copy)
    np.testing.assert_array_equal(np.load(copy / "codes.npz")["codes"], by_function)


def test_missing_damaged_and_foreign_codes_are_refused(copy):
    path = copy / database_codes.FILE
    whole = path.read_bytes()
    encoder = load_encoder(copy)
    codes = database_codes.load(copy, encoder.fingerprint, encoder.num_bits)

    def refused(*parts):
        before = tree(copy)
        one_sentence(lambda: evaluate_workdir(copy), path, *parts, "another --workdir")
        assert tree(copy) == before

    path.unlink()
    refused("is missing")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (b"", whole[:-30], bytes(flipped)):
        path.write_bytes(content)
        refused("cannot be read")
    database_codes.save(codes, "of another encoder", copy)
    refused("another training")
    wider = Targets(codes.ids, np.repeat(codes.codes, 2, axis=1))
    database_codes.save(wider, encoder.fingerprint, copy)
    refused("another training")
    path.write_bytes(whole)
    assert evaluate_workdir(copy)["database_codes"] == "learned"


def test_baselines_need_no_learned_codes(copy):
    (copy / database_codes.FILE).unlink()
    assert "database_codes" not in evaluate_workdir(copy, baseline="lsh")


def test_a_new_run_in_the_same_place_leaves_none(tmp_path):
    """A run that did not end has no claim on its workdir."""
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / database_codes.FILE).write_bytes(b"of an earlier one")
    config = corpus.config(corpus.write(tmp_path / "c.jsonl"))
    train(config, workdir, {"command": "test"})
    assert not (workdir / database_codes.FILE).exists()
    split = load_split(workdir / "split.json")
    assert len(split.training)
    config.codes.database_codes = "learned"
    with pytest.raises(UserError, match="codes.database_codes .'function' there, 'learned' now"):
        train(config, workdir, {})
