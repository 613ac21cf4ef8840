"""SHTTM from documents to codes: its closed form by hand, the commands, and mistakes of users."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks.encode_images import untrained
from configs import shttm_reuters_32bit, smoke
from dsh_jax import evaluation, hamming
from dsh_jax.data.documents.topics import infer_topics, learn_topics
from dsh_jax.devices import pick_devices
from dsh_jax.encoder import Encoder
from dsh_jax.errors import UserError
from dsh_jax.methods.base import kept_variables
from dsh_jax.methods.shttm_codes import learn_codes
from dsh_jax.methods.word_players import topic_model
from dsh_jax.training.experiment import build_method, prepare
from dsh_jax.training.loop import train
from tests import corpus

ROOT = Path(__file__).parents[1]
PUBLISHED = {"rotation": False, "fitted_to": "codes", "thresholds": "median"}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return corpus.write(tmp_path_factory.mktemp("corpus") / "corpus.jsonl")


def fitted(path, tmp_path, **codes):
    """(experiment, state, what was reported)."""
    config = corpus.config(path)
    config.codes.update(codes)
    experiment = prepare(config, tmp_path / "none")
    reported = []
    learned = experiment.method.fit(
        experiment.dataset, experiment.split, lambda *row: reported.append(row)
    )
    return experiment, learned.state, reported


def test_the_published_form_by_its_formulas(path, tmp_path):
    experiment, state, reported = fitted(path, tmp_path, **PUBLISHED, tolerance=0.0, iterations=5)
    config, dataset, split = experiment.config, experiment.dataset, experiment.split
    ids = np.union1d(split.labeled, split.unlabeled)
    topics = learn_topics(dataset.counts[ids], num_topics=6, seed=0, iterations=3, cache=None)
    c = config.codes
    learned = learn_codes(
        dataset.labels[ids], infer_topics(topics, dataset.counts[ids]), present=c.present,
        missing=c.missing, tag_ridge=c.tag_ridge, topic_weight=c.topic_weight, iterations=5,
        tolerance=0.0,
    )  # fmt: skip
    assert reported == [(i + 1, {"objective": o}) for i, o in enumerate(learned.objectives)]
    assert state.step == len(reported) > 1

    features = dataset.tfidf[ids].toarray().astype(float)
    gram = features.T @ features + c.hash_ridge * np.eye(features.shape[1])
    kernel = np.linalg.solve(gram, features.T @ learned.codes)
    np.testing.assert_allclose(state.params["hash"]["kernel"], kernel, atol=1e-5)
    medians = np.median(learned.codes, axis=0)
    np.testing.assert_allclose(state.params["hash"]["threshold"], medians, rtol=1e-5)
    relaxed = np.asarray(experiment.method.encode(state, dataset.take(split.query)))
    outputs = dataset.tfidf[split.query].toarray() @ kernel - medians
    np.testing.assert_allclose(relaxed, 1 / (1 + np.exp(-outputs)), atol=1e-5)
    # A document without a known word has the code of the zero vector.
    nothing = dataset.take(np.array([149]))
    relaxed = np.asarray(experiment.method.encode(state, nothing))[0]
    np.testing.assert_array_equal(relaxed > 0.5, 0 > state.params["hash"]["threshold"])


def test_thresholds_that_are_fitted_to_the_function_balance_its_bits(path, tmp_path):
    experiment, state, _ = fitted(
        path, tmp_path, rotation=False, fitted_to="function", thresholds="median"
    )
    split = experiment.split
    ids = np.union1d(split.labeled, split.unlabeled)
    bits = np.asarray(experiment.method.encode(state, experiment.dataset.take(ids))) > 0.5
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.02


def test_a_rotation_keeps_distances_and_loses_less(path, tmp_path):
    outputs = []
    for rotation in (False, True):
        experiment, state, _ = fitted(path, tmp_path, rotation=rotation)
        split = experiment.split
        ids = np.union1d(split.labeled, split.unlabeled)
        kernel = np.asarray(state.params["hash"]["kernel"], float)
        outputs.append(
            experiment.dataset.tfidf[ids] @ kernel - np.asarray(state.params["hash"]["threshold"])
        )
    plain, rotated = outputs
    np.testing.assert_allclose(plain @ plain.T, rotated @ rotated.T, atol=1e-5)

    def loss(values):
        values = values / values.std()
        return np.square(values - np.where(values > 0, 1, -1)).mean()

    assert loss(rotated) < loss(plain)


def test_sparse_products_encode_as_padded_rows_do(path, tmp_path):
    """Codes of two paths differ at most where an output is within rounding of its threshold."""
    experiment, state, _ = fitted(path, tmp_path)
    dataset, ids = experiment.dataset, np.arange(150)[::-1]
    encoder = untrained(experiment.config, experiment.signature)
    encoder = Encoder(encoder._description, kept_variables(state), pick_devices(1, {}))
    padded = np.asarray(experiment.method.encode(state, dataset.take(ids)))
    sparse = encoder.encode_dataset(dataset, ids, finish=np.asarray)
    assert sparse.dtype == np.float32
    np.testing.assert_allclose(sparse, padded, atol=1e-6)
    certain = np.abs(padded - 0.5) > 1e-6
    assert certain.mean() > 0.99
    np.testing.assert_array_equal((sparse > 0.5)[certain], (padded > 0.5)[certain])

    # Texts, in batches of any size, and rows of the data set have the same codes to the last bit.
    texts = [dataset.texts[row] for row in ids]
    for size in (7, 500):
        np.testing.assert_array_equal(encoder.relaxed(texts, batch_size=size), sparse)
    assert encoder.encode_dataset(dataset, ids[:0], finish=np.asarray).shape == (0, 6)
    encoder._encode_sparse = None  # as on a GPU
    in_rows = encoder.relaxed(texts)
    np.testing.assert_allclose(in_rows, padded, atol=1e-7)


def test_float64_solves_alike_and_changes_nothing_else(path, tmp_path):
    states = [
        fitted(path, tmp_path, rotation=False, dtype=dtype)[1] for dtype in ("float32", "float64")
    ]
    assert not jax.config.jax_enable_x64
    kernels = [np.asarray(state.params["hash"]["kernel"]) for state in states]
    assert kernels[1].dtype == np.float32
    np.testing.assert_allclose(*kernels, atol=1e-3)


def test_without_any_tag_topics_alone_make_codes(tmp_path):
    rows = corpus.lines()
    for row in rows[: len(rows) - 20]:
        row["tags"] = []
    # Some tags are left, or there would be nothing to validate by.
    config = corpus.config(corpus.write(tmp_path / "c.jsonl", rows))
    config.data.query_share, config.data.validation_share = 0.3, 0.5
    experiment = prepare(config, tmp_path / "none")
    state = experiment.method.fit(experiment.dataset, experiment.split, lambda *_: None).state
    assert np.isfinite(state.params["hash"]["kernel"]).all()


@pytest.fixture(scope="module")
def trained(path, tmp_path_factory):
    """A workdir that the real commands have filled, and what they printed."""
    workdir = tmp_path_factory.mktemp("run") / "run"
    options = [
        f"--config.{name}={value}"
        for name, value in {
            "num_bits": 6, "data.source": "jsonl", "data.data_dir": path, "data.min_documents": 1,
            "data.max_share": 1.0, "data.validation_share": 0.2, "topics.cache": "",
            "topics.iterations": 3, "encode_batch_size": 64,
        }.items()
    ]  # fmt: skip
    printed = [run("train.py", "--config", "configs/shttm_reuters_32bit.py", "--workdir", workdir,
                *options)]  # fmt: skip
    printed.append(run("eval.py", "--workdir", workdir, "--report"))
    for baseline in ("topics", "topics_itq", "itq", "lsh"):
        printed.append(run("eval.py", "--workdir", workdir, "--baseline", baseline))
    return workdir, printed


def run(*command):
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_commands_fill_a_workdir(trained):
    workdir, printed = trained
    result = json.loads((workdir / "eval.json").read_text())
    assert result["dataset"] == "jsonl" and result["codes"] == "shttm_rotated"
    assert result["queries_without_words"] == 1 and result["database_without_words"] == 1
    # Half of the database has one subject of three, a fifth two: chance is about 0.45.
    assert result["map"] > 0.8 and result["num_queries_without_relevant"] == 1
    assert "2 documents have none of them" in printed[0] and "closed form" in printed[0]
    codes = np.load(workdir / "codes.npz")
    assert codes["query_has_words"].sum() == len(codes["query_ids"]) - 1
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    objectives = [row["objective"] for row in rows if "objective" in row]
    assert len(objectives) > 1 and objectives == sorted(objectives, reverse=True)
    for baseline in ("topics", "topics_itq", "itq", "lsh"):
        scores = json.loads((workdir / f"eval_{baseline}.json").read_text())
        assert scores["split_checksum"] == result["split_checksum"]
        # Words alone tell these subjects apart, but random hyperplanes do not look at them.
        assert scores["map"] > 0.45 and (baseline != "lsh" or scores["map"] < result["map"])


def test_thresholded_topics_are_medians_of_the_training_documents(trained, path, tmp_path):
    workdir, _ = trained
    codes = np.load(workdir / "codes_topics.npz")
    experiment = prepare(corpus.config(path), tmp_path / "none")
    dataset, split = experiment.dataset, experiment.split
    ids = np.union1d(split.labeled, split.unlabeled)
    topics = topic_model(experiment.config, dataset, ids)
    wanted = topics(split.query) > np.median(topics(ids), axis=0)
    np.testing.assert_array_equal(hamming.unpack(codes["query_codes"], 6), wanted)


def test_the_report_shows_texts(trained):
    workdir, _ = trained
    page = (workdir / "report/report.html").read_text()
    assert not (workdir / "report/gallery.png").exists()
    snippets = re.findall(r"<blockquote>(.*?)<br>", page)
    assert len(snippets) == 10
    texts = {row["text"] for row in corpus.lines()}
    assert all(snippet in texts for snippet in snippets)
    assert page.count('<tr class="right">') + page.count('<tr class="wrong">') == 50
    assert page.count('<tr class="right">') > 30
    assert "1 queries,\n 1 items of the database" in page


def test_a_second_call_of_train_has_nothing_left_to_do(trained, path):
    workdir, _ = trained
    before = (workdir / "metrics.jsonl").read_text()
    config = corpus.config(path)
    saved = json.loads((workdir / "config.json").read_text())
    config.update(saved)
    state = train(config, workdir, {})
    assert (workdir / "metrics.jsonl").read_text() == before
    assert state.step > 0


def test_the_vocabulary_is_the_workdirs(trained, path):
    workdir, _ = trained
    path = workdir / "signature.json"
    content = path.read_text()
    words = json.loads(content)["signature"]["inputs"]["words"]
    assert "apple" in words and "unheard" not in words
    path.write_text(content.replace('"apple"', '"applf"'))
    with pytest.raises(UserError, match="signature.json is damaged.*checksum"):
        evaluation.evaluate_workdir(workdir)
    path.write_text(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_bits": 40}, "num_bits is 40, .* support 1 to"),
        ({"codes.dtype": "float16"}, "codes.dtype is 'float16'"),
        ({"codes.thresholds": "none"}, "codes.thresholds is 'none'"),
        ({"codes.fitted_to": "tags"}, "codes.fitted_to is 'tags'"),
        ({"codes.missing": 2.0}, "codes.present is 1.0"),
        ({"codes.hash_ridge": 0.0}, "codes.hash_ridge is 0.0"),
        ({"data.min_documents": 1000}, "No word is left"),
        ({"data.data_dir": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"data.source": "jsonlines"}, "data.source is 'jsonlines'"),
        ({"num_bits": 0}, "num_bits is 0"),
    ],
)
def test_what_users_get_wrong(path, tmp_path, change, message):
    config = corpus.config(path)
    config.update_from_flattened_dict(change)
    with pytest.raises(UserError, match=message) as caught:
        train(config, tmp_path / "run", {})
    assert "\n" not in str(caught.value)


def test_methods_and_data_that_do_not_fit(path, tmp_path):
    documents = prepare(corpus.config(path), tmp_path / "none").signature
    images = prepare(smoke.get_config(), tmp_path / "none").signature
    with pytest.raises(UserError, match="takes documents or tf-idf rows, .* gives images"):
        build_method(shttm_reuters_32bit.get_config(), images)
    with pytest.raises(UserError, match="takes images or vectors, .* gives documents"):
        build_method(smoke.get_config(), documents)
    with pytest.raises(UserError, match="'shttm', 'shttm_neural'"):
        config = corpus.config(path)
        config.method = "none"
        build_method(config, documents)
