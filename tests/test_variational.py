"""VDSH and NASH: their losses by hand, what they draw, and training from end to end."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import (
    nash_newsgroups_32bit,
    nash_reuters_32bit,
    nash_supervised_newsgroups_32bit,
    nash_supervised_reuters_32bit,
    vdsh_newsgroups_32bit,
    vdsh_reuters_32bit,
    vdsh_supervised_newsgroups_32bit,
    vdsh_supervised_reuters_32bit,
)
from dsh_jax import load_encoder
from dsh_jax.data.batches import make_batch
from dsh_jax.devices import compile_step, replicate, shard, unreplicate
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.losses.documents import code_divergence
from dsh_jax.losses.variational import gaussian_kl
from dsh_jax.methods import nash, vdsh
from dsh_jax.networks.variational import CodeStream
from dsh_jax.training.experiment import prepare
from dsh_jax.training.loop import train
from tests import corpus


def test_gaussian_kl_by_hand():
    # Half of m^2 + v - log v - 1: here of m = 2, v = 1 and of m = 0, v = e^2.
    mean, log_variance = jnp.array([2.0, 0.0]), jnp.array([0.0, 2.0])
    wanted = 2 + (np.exp(2) - 3) / 2
    assert gaussian_kl(mean, log_variance) == pytest.approx(wanted, rel=1e-6)
    assert gaussian_kl(jnp.zeros(5), jnp.zeros(5)) == 0


def test_the_divergence_of_bits_by_hand():
    # 3/4 log(2 * 3/4) + 1/4 log(2 * 1/4)
    wanted = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    found = code_divergence(jnp.array([np.log(3.0), -np.log(3.0), 0.0]))
    assert found == pytest.approx(2 * wanted, rel=1e-5)
    certain = jnp.array([200.0, -200.0])
    assert code_divergence(certain) == pytest.approx(2 * np.log(2), rel=1e-6)
    assert np.isfinite(jax.grad(code_divergence)(certain)).all()


def test_codes_of_vdsh_have_their_mean_and_variance():
    means, log_variances = jnp.array([[1.0, -2.0]]), jnp.log(jnp.array([[0.25, 4.0]]))
    many = jnp.tile(means, (20_000, 1)), jnp.tile(log_variances, (20_000, 1))
    drawn = np.asarray(vdsh.sample(jax.random.key(0), *many))
    np.testing.assert_allclose(drawn.mean(axis=0), [1, -2], atol=0.05)
    np.testing.assert_allclose(drawn.var(axis=0), [0.25, 4], rtol=0.05)


def test_bits_of_nash_are_drawn_and_have_the_gradient_of_their_probability():
    logits = jnp.tile(jnp.log(jnp.array([[1 / 3, 1.0, 9.0]])), (20_000, 1))
    drawn = np.asarray(nash.sample(jax.random.key(0), logits, None))
    np.testing.assert_allclose(abs(drawn), 1, atol=1e-6)
    np.testing.assert_allclose((drawn > 0).mean(axis=0), [0.25, 0.5, 0.9], atol=0.02)
    gradient = jax.grad(lambda x: nash.sample(jax.random.key(0), x, None).sum())(logits)
    # Of 2 p - 1, where p is the probability of a 1.
    np.testing.assert_allclose(gradient[0], [2 * 0.25 * 0.75, 0.5, 2 * 0.9 * 0.1], rtol=1e-5)
    noise = nash.sample(jax.random.key(0), logits, jnp.full((20_000, 1), np.log(0.04))) - drawn
    assert np.std(noise) == pytest.approx(0.2, rel=0.02)


def test_thresholds_are_running_medians():
    stream = CodeStream(2, median=True, sharpness=0.0)
    features = jnp.array([[1.0, 0], [2, 0], [9, 4]])
    kernel = jnp.eye(2)
    kept = {"params": {"Dense_0": {"kernel": kernel, "bias": jnp.array([0.0, 1.0])}},
            "batch_stats": {"median": jnp.array([1.0, 0.0])}}  # fmt: skip
    means, new = stream.apply(kept, features, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(means, features + jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(new["batch_stats"]["median"], [0.95 + 0.05 * 2, 0.05 * 1])
    np.testing.assert_allclose(stream.apply(kept, features, train=False),
                               means - jnp.array([1.0, 0.0]))  # fmt: skip
    middle = CodeStream(2, median=False, sharpness=0.0)
    assert "batch_stats" not in middle.init(jax.random.key(0), features, train=False)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return corpus.write(tmp_path_factory.mktemp("corpus") / "corpus.jsonl")


def stepped(path, tmp_path, method, **changed):
    """A batch, and the metrics and the state after one step."""
    config = corpus.config(path, method)
    config.update_from_flattened_dict(changed)
    experiment = prepare(config, tmp_path / "none")
    (stage,) = experiment.method.stages
    step = compile_step(stage.step, 0, experiment.devices)
    batch = make_batch(experiment.dataset, experiment.split, stage.batch, 0)
    before = experiment.method.init(jax.random.key(0))
    state, metrics = step(replicate(before, experiment.devices), shard(batch, experiment.devices))
    return experiment, before, unreplicate(state), unreplicate(metrics)


def test_decoders_begin_with_frequencies(path, tmp_path):
    config = corpus.config(path, "nash")
    config.loss.word_weights = "count"
    experiment = prepare(config, tmp_path / "none")
    dataset, ids = experiment.dataset, experiment.split.training
    state = experiment.method.prepare(experiment.method.init(jax.random.key(0)), dataset, ids)
    counts = dataset.counts[ids].toarray()
    often = counts.sum(axis=0) + counts.sum() / (counts > 0).sum()
    words = state.batch_stats["words"]["unigram"]
    np.testing.assert_allclose(np.exp(words), often / often.sum(), rtol=1e-5)
    tags = dataset.labels[experiment.split.labeled]  # those without tags say nothing
    share = (tags.sum(axis=0) + 0.5) / (len(tags) + 1)
    factors = state.params["tags"]["factors"]
    np.testing.assert_allclose(1 / (1 + np.exp(-factors["bias"])), share, rtol=1e-5)
    assert factors["kernel"].any()


def test_the_loss_is_the_weighted_sum_of_its_terms(path, tmp_path):
    weights = {"loss.kl_weight": 0.8, "loss.kl_steps": 4, "loss.tag_weight": 3.0}
    _, _, _, found = stepped(path, tmp_path, "vdsh", **weights)
    terms = {name: float(found[f"network/{name}"]) for name in ("words", "kl", "tags", "loss")}
    # At the first of four steps the weight of the divergence is a quarter.
    wanted = terms["words"] + 0.8 / 4 * terms["kl"] + 3 * terms["tags"]
    assert terms["loss"] == pytest.approx(wanted, rel=1e-5)


def test_words_count_as_the_config_says(path, tmp_path):
    found = {}
    for weights in ("count", "presence", "tfidf"):
        _, _, _, metrics = stepped(path, tmp_path, "nash", **{"loss.word_weights": weights})
        found[weights] = float(metrics["network/words"])
    assert found["count"] >= found["presence"] > found["tfidf"] > 0


def test_without_labels_there_are_no_tags(path, tmp_path):
    experiment, before, state, metrics = stepped(path, tmp_path, "nash", supervised=False)
    assert "tags" not in state.params and "network/tags" not in metrics
    assert experiment.method.codes == "nash" and set(state.ema) == {"features", "codes"}
    changed = [name for name in state.params
               if any(map(np.any, jax.tree.leaves(jax.tree.map(
                   lambda a, b: np.asarray(a) != np.asarray(b),
                   before.params[name], state.params[name]))))]  # fmt: skip
    assert sorted(changed) == ["codes", "features", "variances", "words"]


@pytest.mark.parametrize("method", ["vdsh", "nash"])
def test_training_finds_the_subjects(path, tmp_path, method):
    config = corpus.config(path, method)
    config.update(num_steps=60, eval_every_steps=60, log_every_steps=60)
    config.optimizer.network.learning_rate = 0.01
    config.loss.tag_weight, config.loss.kl_weight = 10.0, 0.1
    run = tmp_path / "run"
    train(config, run, {})
    result = evaluate_workdir(run)
    assert result["codes"] == f"{method}_supervised" and result["map"] > 0.75
    encoder = load_encoder(run)
    codes = encoder.encode(["apple banana cherry", "zinc tin lead", "melon orange papaya", ""])
    first, second, third, _ = (set(np.flatnonzero(np.unpackbits(code))) for code in codes)
    assert len(first ^ third) < len(first ^ second)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = {name for line in lines for name in line}
    assert {"network/words", "network/kl", "network/tags", "validation_map"} <= logged


@pytest.mark.parametrize(
    "module",
    [nash_newsgroups_32bit, nash_reuters_32bit, nash_supervised_newsgroups_32bit,
     nash_supervised_reuters_32bit, vdsh_newsgroups_32bit, vdsh_reuters_32bit,
     vdsh_supervised_newsgroups_32bit, vdsh_supervised_reuters_32bit],
)  # fmt: skip
def test_the_shipped_configs_build(module, path, tmp_path):
    config = module.get_config()
    name = module.__name__.removeprefix("configs.")
    assert config.method == name.split("_")[0]
    assert config.supervised == ("supervised" in name)
    assert config.data.source == ("20newsgroups" if "newsgroups" in name else "reuters21578")
    config.data = corpus.config(path).data
    method = prepare(config, tmp_path / "none").method
    assert method.num_steps == config.num_steps
    assert method.codes == config.method + "_supervised" * config.supervised


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("loss.word_weights", "idf", "one of"), ("codes.thresholds", "mean", "one of"),
     ("encoder.layers", 0, "from 1"), ("loss.words", "none", "cannot be loaded"),
     ("loss.classification", "word_loss", "fails on"), ("loss.kl_weight", -1.0, "0 or more")],
)  # fmt: skip
def test_fields_that_are_refused(path, tmp_path, field, value, words):
    config = corpus.config(path, "vdsh")
    group, name = field.split(".")
    config[group] = ConfigDict({**config[group], name: value})
    with pytest.raises(UserError, match=words):
        prepare(config, tmp_path / "none")
