"""Neural SHTTM: its losses by their definitions, each switch, and training from end to end."""

import itertools
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import shttm_neural_newsgroups_32bit, shttm_neural_reuters_32bit
from dsh_jax import encoder_files
from dsh_jax.data.batches import make_batch
from dsh_jax.data.documents.vocabulary import Vocabulary
from dsh_jax.data.signature import Signature, WordInputs
from dsh_jax.data.targets import Targets
from dsh_jax.devices import compile_step, replicate, shard, unreplicate
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.losses import documents as losses
from dsh_jax.methods import tag_correlation
from dsh_jax.methods.shttm_content import content_of
from dsh_jax.methods.shttm_neural import standardised_topics
from dsh_jax.networks.words import TagExposure, WordLayer, as_dense, bag
from dsh_jax.training.experiment import prepare
from dsh_jax.training.loop import train
from tests import corpus

NONLINEAR = ("nonlinear_encoder", "nonlinear_decoder", "binary_codes")
SWITCHES = (*NONLINEAR, "learned_uncertainty", "correlated_tags", "joint_topics")


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, float)))


@settings(max_examples=50, deadline=None)
@given(
    logits=st.lists(st.floats(-8, 8), min_size=1, max_size=5), seed=st.integers(0, 99),
    recall=st.floats(0.05, 1.0),
)  # fmt: skip
def test_tag_loss_is_a_likelihood(logits, seed, recall):
    rng = np.random.default_rng(seed)
    tags = rng.integers(0, 2, len(logits))
    confidence = rng.uniform(0.1, 2, len(logits))
    wanted = 0.0
    for logit, tag, weight in zip(logits, tags, confidence, strict=True):
        given = recall * sigmoid(logit)
        wanted -= weight * np.log(given if tag else 1 - given)
    found = losses.tag_loss(
        jnp.array(logits), jnp.array(tags, float), jnp.array(confidence),
        jnp.full(len(logits), recall),
    )  # fmt: skip
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_tag_loss_is_finite_where_a_tag_is_certain():
    grad = jax.grad(lambda x: losses.tag_loss(x, jnp.array([0.0, 1.0]), jnp.ones(2), jnp.ones(2)))
    for value in (-60.0, 60.0):
        assert np.isfinite(grad(jnp.full(2, value))).all()
    # With a recall below 1 a missing tag costs at most -log(1 - recall).
    most = losses.tag_loss(jnp.array([60.0]), jnp.zeros(1), jnp.ones(1), jnp.array([0.75]))
    assert most == pytest.approx(-np.log(0.25), rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(logit=st.floats(-8, 8), recall=st.floats(0.05, 0.99), target=st.floats(0, 0.9))
def test_a_missed_tag_by_bayes_rule(logit, recall, target):
    # It applies and is not given, out of all ways not to be given.
    applies = sigmoid(logit)
    wanted = applies * (1 - recall) / (1 - recall * applies)
    found = losses.missed(jnp.array([logit] * 2), jnp.array([target, 1.0]), jnp.full(2, recall))
    np.testing.assert_allclose(found, [wanted, 0], rtol=1e-4, atol=1e-7)


def test_soft_targets_weigh_both_cases():
    logits, confidence = jnp.array([0.7]), jnp.array([0.2])
    given, missing, soft = (
        losses.tag_loss(logits, jnp.array([t]), confidence, jnp.array([0.9])) for t in (1, 0, 0.3)
    )
    assert float(soft) == pytest.approx(float(0.3 * given + 0.7 * missing), rel=1e-5)


def test_code_divergence_by_hand():
    # A sure bit has log 2 nats, a fair one none, and one of 3/4 the rest of its entropy.
    q = 0.75
    wanted = np.log(2) + q * np.log(q) + (1 - q) * np.log(1 - q)
    found = losses.code_divergence(jnp.array([50.0, 0.0, np.log(3), -np.log(3), -50.0]))
    assert float(found) == pytest.approx(2 * np.log(2) + 2 * wanted, rel=1e-5)


def test_word_loss_and_topic_distance_by_hand():
    log_p = jnp.log(jnp.array([0.5, 0.3, 0.2]))
    word, count = jnp.array([2, 0, 0]), jnp.array([3.0, 1.0, 0.0])
    wanted = -(3 * np.log(0.2) + np.log(0.5))
    assert losses.word_loss(log_p, word, count) == pytest.approx(wanted, rel=1e-6)
    assert losses.word_loss(log_p, word, jnp.zeros(3)) == 0
    assert losses.topic_distance(jnp.array([1.0, -1.0]), jnp.array([0.0, 1.0])) == 2.5


def test_bits_have_the_gradient_of_the_relaxed_code():
    x = jnp.array([-3.0, -0.1, 0.0, 2.0])
    np.testing.assert_allclose(losses.to_bits(x), [-1, -1, -1, 1], atol=1e-6)
    slopes = jax.vmap(jax.grad(losses.to_bits))(x)
    np.testing.assert_allclose(slopes, (1 - np.tanh(x / 2) ** 2) / 2, rtol=1e-4)


def test_the_two_ways_through_a_word_layer_agree():
    rng = np.random.default_rng(0)
    word = rng.integers(0, 9, (4, 5)).astype(np.int32)
    weight = rng.random((4, 5)).astype(np.float32)
    kernel = rng.standard_normal((9, 3)).astype(np.float32)
    wanted = np.zeros((4, 3))
    for row, column in itertools.product(range(4), range(5)):
        wanted[row] += weight[row, column] * kernel[word[row, column]]
    np.testing.assert_allclose(bag(kernel, word, weight), wanted, rtol=1e-5)
    np.testing.assert_allclose(as_dense(word, weight, 9) @ kernel, wanted, rtol=1e-5)
    for train_mode in (False, True):
        found = WordLayer(9, 3).apply({"params": {"kernel": kernel}}, word, weight,
                                      train=train_mode)  # fmt: skip
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return corpus.write(tmp_path_factory.mktemp("corpus") / "corpus.jsonl")


def made(path, *on, **changes):
    """A config with these improvements, and without chance inside the networks."""
    config = corpus.config(path, "shttm_neural")
    config.improvements.update({switch: switch in on for switch in SWITCHES})
    config.encoder.update(dropout=0.0, word_dropout=0.0)
    config.update_from_flattened_dict(changes)
    return config


def one_step(config, tmp_path):
    """(experiment, state, batch, state after, metrics)."""
    experiment = prepare(config, tmp_path / "none")
    (stage,), devices = experiment.method.stages, experiment.devices[:1]
    learned = None
    split = experiment.split
    if experiment.method.learn_targets:
        ids = np.union1d(split.labeled, split.unlabeled)
        learned = Targets(ids, experiment.method.learn_targets(experiment.dataset, ids)[0])
    state = experiment.method.init(jax.random.key(0))
    state = experiment.method.prepare(state, experiment.dataset, split.training)
    batch = make_batch(experiment.dataset, split, stage.batch, 0, learned)
    step = compile_step(stage.step, 0, devices)
    after, metrics = unreplicate(
        step(replicate(state, devices), shard(batch, devices))
    )
    return experiment, state, batch, after, metrics


def test_without_improvements_it_is_shttms_objective(path, tmp_path):
    config = made(path, **{"loss.topic_weight": 0.7})
    experiment, state, batch, after, metrics = one_step(config, tmp_path)
    assert set(state.params) == {"encoder", "tags"}
    dense, target, tags = [], [], []
    for prefix in ("", "unlabeled_"):
        rows = len(batch[f"{prefix}word"])
        dense.append(as_dense(batch[f"{prefix}word"], batch[f"{prefix}tfidf"],
                              len(experiment.dataset.vocabulary.words)))  # fmt: skip
        target.append(batch[f"{prefix}target"])
        tags.append(batch["label"] if not prefix else np.zeros((rows, batch["label"].shape[1])))
    dense, target, tags = (np.concatenate(parts).astype(float) for parts in (dense, target, tags))
    assert len(dense) == 36
    outputs = 8 * dense @ np.asarray(state.params["encoder"]["words"]["kernel"], float)
    codes = 2.0 * (outputs - outputs.mean(axis=0)) / np.sqrt(outputs.var(axis=0) + 1e-5)
    factors = state.params["tags"]["factors"]
    given = sigmoid(codes @ np.asarray(factors["kernel"], float) + factors["bias"])
    weights = np.where(tags > 0, config.loss.present, config.loss.missing)
    tag_loss = -(weights * np.log(np.where(tags > 0, given, 1 - given))).sum(axis=1).mean()
    topics = np.square(codes - target).mean(axis=1).mean()
    assert metrics["network/tags"] == pytest.approx(tag_loss, rel=1e-3)
    assert metrics["network/topics"] == pytest.approx(topics, rel=1e-3)
    assert metrics["network/loss"] == pytest.approx(tag_loss + 0.7 * topics, rel=1e-3)


@pytest.mark.parametrize("on", [(switch,) for switch in SWITCHES] + [SWITCHES])
def test_every_improvement_learns_what_it_adds(path, tmp_path, on):
    experiment, state, batch, after, metrics = one_step(made(path, *on), tmp_path)
    assert np.isfinite(list(metrics.values())).all()
    assert ("exposure" in state.params) == ("learned_uncertainty" in on)
    assert ("shares" in state.params) == ("correlated_tags" in on)
    assert ("words" in state.params) == ("network/kl" in metrics) == ("joint_topics" in on)
    assert ("network/topics" in metrics) != ("joint_topics" in on)
    hidden = "nonlinear_encoder" in on
    assert state.params["encoder"]["words"]["kernel"].shape[1] == (16 if hidden else 6)
    hidden = "nonlinear_decoder" in on
    assert state.params["tags"]["factors"]["kernel"].shape[0] == (8 if hidden else 6)
    for player, params in state.params.items():
        for old, new in zip(
            jax.tree.leaves(params), jax.tree.leaves(after.params[player]), strict=True
        ):
            assert not np.array_equal(old, new), player
    (codes,) = {
        experiment.method.encode(s, experiment.dataset.take(np.arange(5))).shape
        for s in (state, after)
    }
    assert codes == (5, 6)


def test_exposure_is_counted_by_tag(path, tmp_path):
    config = made(path, "learned_uncertainty", **{"loss.missing": 0.9})
    _, state, batch, after, _ = one_step(config, tmp_path)
    counts, tags = after.batch_stats["exposure"], batch["label"]
    np.testing.assert_allclose(counts["given"], tags.sum(axis=0))
    # Untagged documents have missing tags too; with mu 0.95, few of them are missed.
    most = len(tags) + 4 - tags.sum(axis=0)
    assert (counts["missed"] > 0).all() and (counts["missed"] < 0.2 * most).all()
    decoder = TagExposure(3, **config.exposure)
    mu = decoder.apply({"batch_stats": counts}, None, train=True)
    np.testing.assert_allclose(
        mu, (counts["given"] + 19) / (counts["given"] + counts["missed"] + 20), rtol=1e-6
    )
    assert not np.array_equal(counts["given"], state.batch_stats["exposure"]["given"])


def test_what_the_documents_fix_is_not_trained(path, tmp_path):
    experiment, state, _, after, _ = one_step(
        made(path, "correlated_tags", "joint_topics"), tmp_path
    )
    ids = experiment.split.training
    counts = experiment.dataset.counts[ids].toarray()
    for one in (state, after):
        stats = one.batch_stats
        assert stats["words"]["length"] == pytest.approx(counts.sum(axis=1).mean(), rel=1e-6)
        share = np.exp(np.asarray(stats["words"]["unigram"], float))
        np.testing.assert_allclose(share.sum(), 1, rtol=1e-5)
        np.testing.assert_allclose(share, counts.sum(axis=0) / counts.sum(), atol=1e-3)
        wanted = tag_correlation.shares(experiment.dataset.multi_hot(ids), smoothing=5.0)
        np.testing.assert_array_equal(stats["shares"]["shares"], wanted)
    assert wanted.max() > 0.05


def test_a_tag_begins_as_likely_as_it_is(path, tmp_path):
    config = made(path, **{"loss.present": 0.8, "loss.missing": 0.2})
    experiment, state, *_ = one_step(config, tmp_path)
    tags = experiment.dataset.labels[experiment.split.labeled]
    present, missing = 0.8 * (tags.sum(axis=0) + 0.5), 0.2 * ((1 - tags).sum(axis=0) + 0.5)
    likely = jax.nn.sigmoid(state.params["tags"]["factors"]["bias"])
    # What is least in the mean of the weighted loss.
    np.testing.assert_allclose(likely, present / (present + missing), rtol=1e-5)


def test_joint_topics_are_a_lower_bound_with_its_weights(path, tmp_path):
    weights = {"loss.word_weight": 0.3, "loss.kl_weight": 0.2}
    metrics = one_step(made(path, "joint_topics", **weights), tmp_path)[4]
    wanted = metrics["network/tags"] + 0.3 * metrics["network/words"] + 0.2 * metrics["network/kl"]
    assert metrics["network/loss"] == pytest.approx(wanted, rel=1e-5)


def test_correlated_tags_are_partly_expected(path, tmp_path):
    plain, correlated = (
        one_step(made(path, *on, **{"correlation.weight": weight}), tmp_path)[4]["network/tags"]
        for on, weight in (((), 0.5), (("correlated_tags",), 0.0))
    )
    assert correlated == plain
    more = one_step(made(path, "correlated_tags"), tmp_path)[4]["network/tags"]
    assert more != plain


def test_an_encoder_of_an_earlier_version_is_built():
    # There one switch stood for encoder, decoder and bits in training.
    config = shttm_neural_reuters_32bit.get_config()
    signature = Signature(WordInputs(Vocabulary(("a", "b"), np.ones(2))), "multi", ("x", "y"))
    description = encoder_files.describe(config, signature, "shttm_neural")
    fields = dict(description.network)
    for hidden in (True, False):
        fields.pop("improvements.nonlinear_encoder", None)
        old = replace(description, network=fields | {"improvements.nonlinear": hidden})
        variables = jax.eval_shape(old.build().init, jax.random.key(0))
        kernel = variables["encoder"]["params"]["words"]["kernel"]
        assert kernel.shape == (2, config.encoder.hidden if hidden else 32)


def test_topics_to_stay_near_are_standardised(path, tmp_path):
    config = made(path)
    found = prepare(config, tmp_path / "none")
    content = content_of(found.signature)
    topics, report = standardised_topics(config, content, found.dataset, np.arange(100))
    np.testing.assert_allclose(topics.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(topics.std(axis=0), 1, rtol=1e-4)
    assert topics.shape == (100, 6) and "6 topics" in report


@pytest.mark.parametrize("on", [SWITCHES, ()])
def test_training_learns_the_subjects_and_resumes(path, tmp_path, on):
    config = corpus.config(path, "shttm_neural", num_bits=8)
    config.improvements.update({switch: switch in on for switch in SWITCHES})
    config.num_steps, config.eval_every_steps = 60, 30
    config.optimizer.network.learning_rate = 1e-2
    config.encoder.update(dropout=0.1, word_dropout=0.1)
    whole = train(config, tmp_path / "whole", {"command": ""})
    result = evaluate_workdir(tmp_path / "whole", checkpoint="latest")
    assert result["codes"] == "shttm_neural" and result["map"] > 0.7
    # Chance is about 0.45, and two queries of 15 can find nothing by what they say.

    # Stopped after its checkpoint at step 30 and taken up again: the same to the last bit.
    for step in (tmp_path / "whole/checkpoints").iterdir():
        assert step.name in ("30", "60")
    stopped = tmp_path / "stopped"
    (tmp_path / "whole").rename(stopped)
    for name in ("60",):
        for file in sorted((stopped / "checkpoints" / name).rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        (stopped / "checkpoints" / name).rmdir()
    resumed = train(config, stopped, {"command": ""})
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (stopped / "targets.npz").exists() == (on == ())
    rows = [json.loads(line) for line in (stopped / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "validation_map" in row] == [30, 60]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss.missing": 1.5}, "loss.missing is 1.5"),
        ({"encoder.dropout": 1.0}, "encoder.dropout is 1.0"),
        ({"encoder.hidden": 0}, "encoder.hidden is 0"),
        ({"encoder.sharpness": 0.0}, "encoder.sharpness is 0.0"),
        ({"optimizer.network.schedule": "step"}, "optimizer.network.schedule is 'step'"),
        ({"num_bits": 0}, "num_bits is 0"),
        ({"correlation.weight": 1.5}, "correlation.weight is 1.5; .* of 0 or more and at most 1"),
        ({"exposure.alpha": 0.5}, "exposure.alpha is 0.5; set it to a finite number of 1 or more"),
    ],
)
def test_what_users_get_wrong(path, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        train(made(path, **change), tmp_path / "run", {})
    assert not (tmp_path / "run").exists()


def test_fixed_topics_cannot_be_more_than_the_documents_support(path, tmp_path):
    with pytest.raises(UserError, match="num_bits is 200"):
        train(made(path, num_bits=200), tmp_path / "run", {})
    # Topics learned jointly are no counts of anything: as many as one likes.
    train(made(path, "joint_topics", num_bits=200), tmp_path / "joint", {"command": ""})


def test_the_configs_have_the_improvements_that_help_on_their_data():
    reuters = shttm_neural_reuters_32bit.get_config()
    news = shttm_neural_newsgroups_32bit.get_config()
    assert all(reuters.improvements.values())
    # Messages have one tag: see docs/results.md.
    off = [name for name, on in news.improvements.items() if not on]
    assert off == ["nonlinear_decoder"]
    assert reuters.num_bits == news.num_bits == 32
    assert (reuters.data.source, news.data.source) == ("reuters21578", "20newsgroups")
