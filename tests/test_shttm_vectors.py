"""Neural SHTTM on vectors: its terms by slow forms of them, and a run by the real commands."""

import json
import re
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import ROOT, run_forked
from test_shttm_neural import SWITCHES, one_step, sigmoid

from configs import shttm_neural, shttm_neural_features
from dsh_jax import load_encoder
from dsh_jax.data.loading import load_dataset
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.losses.documents import vector_loss
from dsh_jax.methods import shttm_content
from dsh_jax.methods.word_players import with_untagged
from dsh_jax.search import arguments, command
from dsh_jax.training.experiment import prepare
from dsh_jax.training.loop import train

WIDTH = 12
DATA_PAGE = ROOT / "docs/data.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three tags around three points; a tenth of the vectors have two, and some have none."""
    folder = tmp_path_factory.mktemp("vectors")
    rng = np.random.default_rng(0)
    tags = np.eye(3, dtype=np.uint8)[np.arange(150) % 3]
    tags[::10, 0] = 1
    points = 3 * rng.standard_normal((3, WIDTH))
    vectors = tags @ points + rng.standard_normal((150, WIDTH)) + 0.5
    tags[7::15] = 0
    np.save(folder / "vectors.npy", vectors.astype(np.float32))
    np.save(folder / "labels.npy", tags)
    (folder / "ids.txt").write_text("".join(f"text-{row}\n" for row in range(150)))
    return folder


def changes(folder):
    return {
        "data.root": str(folder), "num_bits": 6, "batch_size": 16, "unlabeled_batch_size": 4,
        "encoder.hidden": 16, "decoder.hidden": 8, "num_steps": 40, "encode_batch_size": 64,
        "eval_every_steps": 20, "log_every_steps": 10, "optimizer.network.learning_rate": 1e-2,
    }  # fmt: skip


def made(folder, *on, **more):
    """A small config with these improvements, and without chance inside the networks."""
    config = shttm_neural_features.get_config()
    config.update_from_flattened_dict(changes(folder))
    config.improvements.update({switch: switch in on for switch in SWITCHES})
    config.encoder.update(dropout=0.0, word_dropout=0.0)
    config.update_from_flattened_dict(more)
    return config


def test_vector_loss_by_hand():
    # (0.5 - 2)^2 / 2 + (1 - 0)^2 / 2
    found = vector_loss(jnp.array([2.0, 0.0]), jnp.array([0.5, 1.0]))
    assert float(found) == pytest.approx(1.625)


def test_vectors_with_and_without_tags_become_one_batch():
    batch = {"vector": np.ones((3, 2)), "label": np.ones((3, 4)), "position": np.arange(3),
             "unlabeled_vector": np.zeros((2, 2)),
             "unlabeled_position": np.arange(3, 5)}  # fmt: skip
    joined = with_untagged(batch)
    np.testing.assert_array_equal(joined["vector"], [[1, 1]] * 3 + [[0, 0]] * 2)
    np.testing.assert_array_equal(joined["label"], [[1] * 4] * 3 + [[0] * 4] * 2)


def whole_batch(batch):
    """Vectors and tags of all items of a batch, in float64."""
    tags = np.zeros((len(batch["unlabeled_vector"]), batch["label"].shape[1]))
    return (np.concatenate([batch["vector"], batch["unlabeled_vector"]]).astype(float),
            np.concatenate([batch["label"], tags]))  # fmt: skip


def linear_codes(state, vectors):
    """Standardised outputs of the linear encoder, times its sharpness of 2."""
    outputs = vectors @ np.asarray(state.params["encoder"]["vectors"]["kernel"], float)
    return 2.0 * (outputs - outputs.mean(axis=0)) / np.sqrt(outputs.var(axis=0) + 1e-5)


def expected_tag_loss(config, state, codes, tags):
    factors = state.params["tags"]["factors"]
    given = sigmoid(codes @ np.asarray(factors["kernel"], float) + factors["bias"])
    weights = np.where(tags > 0, config.loss.present, config.loss.missing)
    return -(weights * np.log(np.where(tags > 0, given, 1 - given))).sum(axis=1).mean()


def test_without_improvements_codes_stay_near_principal_components(folder, tmp_path):
    config = made(folder, **{"loss.topic_weight": 0.7})
    experiment, state, batch, _, metrics = one_step(config, tmp_path)
    assert set(state.params) == {"encoder", "tags"}
    ids = np.union1d(experiment.split.labeled, experiment.split.unlabeled)
    units = np.load(folder / "vectors.npy").astype(float)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    centred = units - units[ids].mean(axis=0)
    _, _, directions = np.linalg.svd(centred[ids], full_matrices=False)
    scores = centred @ directions[:6].T
    scores /= scores[ids].std(axis=0)
    taken = [np.flatnonzero((units.astype(np.float32) == row).all(axis=1) |
                            np.isclose(units, row, atol=1e-6).all(axis=1))[0]
             for row in np.concatenate([batch["vector"], batch["unlabeled_vector"]])]  # fmt: skip
    target = np.concatenate([batch["target"], batch["unlabeled_target"]])
    signs = np.sign((target * scores[taken]).sum(axis=0))  # of a component, they are free
    np.testing.assert_allclose(target, signs * scores[taken], atol=2e-3)

    vectors, tags = whole_batch(batch)
    codes = linear_codes(state, vectors * np.sqrt(WIDTH))
    wanted = expected_tag_loss(config, state, codes, tags)
    topics = np.square(codes - target).mean()
    assert metrics["network/tags"] == pytest.approx(wanted, rel=1e-3)
    assert metrics["network/topics"] == pytest.approx(topics, rel=1e-3)
    assert metrics["network/loss"] == pytest.approx(wanted + 0.7 * topics, rel=1e-3)


def test_joint_topics_explain_the_standardised_vector(folder, tmp_path):
    weights = {"loss.vector_weight": 0.3, "loss.kl_weight": 0.2, "data.normalise": "none"}
    config = made(folder, "joint_topics", **weights)
    experiment, state, batch, after, metrics = one_step(config, tmp_path)
    every = np.load(folder / "vectors.npy")[experiment.split.training].astype(float)
    mean = every.mean(axis=0)
    deviation = np.sqrt(np.square(every - mean).mean())
    for one in (state, after):  # set from the data and not trained
        np.testing.assert_allclose(one.batch_stats["vectors"]["mean"], mean, rtol=1e-4, atol=1e-5)
        assert one.batch_stats["vectors"]["deviation"] == pytest.approx(deviation, rel=1e-4)

    vectors, tags = whole_batch(batch)
    codes = linear_codes(state, vectors)
    decoded = codes @ np.asarray(state.params["vectors"]["directions"]["kernel"], float)
    misfit = 0.0
    for row, vector in zip(decoded, (vectors - mean) / deviation, strict=True):
        for number, wanted in zip(row, vector, strict=True):
            misfit += (number - wanted) ** 2 / 2
    misfit /= len(vectors) * WIDTH
    assert metrics["network/vectors"] == pytest.approx(misfit, rel=1e-3)
    tag_loss = expected_tag_loss(config, state, codes, tags)
    total = tag_loss + 0.3 * misfit + 0.2 * float(metrics["network/kl"])
    assert metrics["network/loss"] == pytest.approx(total, rel=1e-3)
    for player, params in state.params.items():
        changed = jax.tree.map(np.array_equal, params, after.params[player])
        assert not any(jax.tree.leaves(changed)), player


def test_principal_components_of_many_vectors_are_those_of_some(folder, tmp_path, monkeypatch):
    config = made(folder)
    experiment = one_step(config, tmp_path)[0]
    content = shttm_content.content_of(experiment.signature)
    ids = experiment.split.training
    whole = content.topics(config, experiment.dataset, ids)
    monkeypatch.setattr(shttm_content, "_BLOCK", 7)
    np.testing.assert_allclose(content.topics(config, experiment.dataset, ids), whole, atol=1e-6)
    monkeypatch.setattr(shttm_content, "_MOST_FITTED", len(ids) // 2)
    some = content.topics(config, experiment.dataset, ids)
    assert some.shape == whole.shape and not np.allclose(some, whole)


def test_commands_train_evaluate_and_search_and_the_encoder_takes_vectors(
    folder, tmp_path, capsys
):
    run, config = tmp_path / "run", f"--config={ROOT / 'configs/shttm_neural_features.py'}"
    flags = [f"--config.{name}={value}" for name, value in changes(folder).items()]
    code, stderr = run_forked(tmp_path, "train.py", config, f"--workdir={run}", *flags)
    assert code == 0, stderr
    code, stderr = run_forked(tmp_path, "eval.py", f"--workdir={run}", "--report")
    assert code == 0, stderr
    result = json.loads((run / "eval.json").read_text())
    assert (result["codes"], result["kind"]) == ("shttm_neural", "vectors")
    lsh = evaluate_workdir(run, baseline="lsh")
    assert result["map"] > 0.8 and result["map"] > lsh["map"]

    vectors, codes = np.load(folder / "vectors.npy"), np.load(run / "codes.npz")
    encoder = load_encoder(run)
    np.testing.assert_array_equal(encoder.encode(vectors), codes["codes"])
    model, index = tmp_path / "mine.safetensors", tmp_path / "index"
    encoder.save(model)
    saved = load_encoder(model)
    np.testing.assert_array_equal(saved.encode(vectors), codes["codes"])
    with pytest.raises(ValueError, match=rf"floats \[n, {WIDTH}\]"):
        saved.encode(vectors[:, 1:])
    np.save(tmp_path / "one.npy", vectors[3])
    for words in (["index", "--vectors", folder, "--model", model, "--index", index, "--once"],
                  ["query", "--vector", tmp_path / "one.npy", "--index", index]):  # fmt: skip
        given = arguments.parse([str(word) for word in words])
        command.VERBS[given.verb](given)
    first = capsys.readouterr().out.split("  0  text-")[1].split()[0]
    np.testing.assert_array_equal(codes["codes"][int(first)], codes["codes"][3])


def test_a_run_with_fixed_topics_goes_on_from_its_targets(folder, tmp_path):
    config = made(folder, num_steps=4, eval_every_steps=2)
    whole = train(config, tmp_path / "whole", {"command": ""})
    train(made(folder, num_steps=2, eval_every_steps=2), tmp_path / "part", {"command": ""})
    assert (tmp_path / "part/targets.npz").exists()
    resumed = train(config, tmp_path / "part", {"command": ""})
    assert int(resumed.step) == int(whole.step) == 4


@pytest.mark.parametrize(
    ("change", "says"),
    [({"num_bits": 13},
      "num_bits is 13, but vectors of 12 numbers have no more principal components than that; set "
      "improvements.joint_topics to True, or num_bits to 12 at most."),
     ({"loss.vector_weight": -1.0}, "loss.vector_weight is -1.0; set it to"),
     ({"loss.vectors": "word_loss"}, "loss.vectors 'word_loss' fails on (mean [width], "),
     ({"method": "shttm"}, "method 'shttm' takes documents or tf-idf rows, but data.source "
      "'features' gives vectors; set method to 'cnnh' or 'dsh_gan' or 'shttm_neural', or "
      "data.source to another one.")],
)  # fmt: skip
def test_what_users_get_wrong(folder, change, says):
    config = made(folder, **change)
    with pytest.raises(UserError) as caught:
        prepare(config, None)
    assert says in str(caught.value)


def test_a_config_of_documents_lacks_the_fields_of_vectors(folder):
    config = shttm_neural.get_config("features", num_bits=6)
    config.data = made(folder).data
    config.unlabeled_batch_size = 0
    with pytest.raises(UserError, match="has no field loss.vectors"):
        prepare(config, None)


def test_the_example_of_sentence_embeddings_in_the_docs(tmp_path, monkeypatch):
    pytest.importorskip("pandas")
    (code,) = re.findall(r"```python\n(# embed_texts\.py.*?)```", DATA_PAGE.read_text(), re.DOTALL)

    class SentenceTransformer:  # the model, which would be downloaded
        def __init__(self, name):
            assert name == "all-MiniLM-L6-v2"

        def encode(self, texts):
            return np.array([[len(text), 1, 2] for text in texts], np.float32)

    stub = types.SimpleNamespace(SentenceTransformer=SentenceTransformer)
    monkeypatch.setitem(sys.modules, "sentence_transformers", stub)
    monkeypatch.chdir(tmp_path)
    rows = ["id,body,topics", '7,"one, two","ship,trade"', "8,three,ship", "x,,", "9,NA,trade"]
    (tmp_path / "articles.csv").write_text("\n".join(rows) + "\n")
    exec(compile(code, "embed_texts.py", "exec"), {})
    data = made(tmp_path / "articles.parquet", **{"data.cache_dir": str(tmp_path)}).data
    dataset = load_dataset(data)
    assert dataset.class_names == ("ship", "trade") and dataset.names == ("7", "8", "x", "9")
    np.testing.assert_array_equal(dataset.labels, [[1, 1], [1, 0], [0, 0], [0, 1]])
    np.testing.assert_array_equal(dataset.vectors[:, 0], [8, 5, 0, 2])
