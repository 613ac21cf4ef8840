"""Consistency: pseudo-labels against NumPy, and the term of the hash step by its definition."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from dsh_jax.devices import AXIS
from dsh_jax.errors import UserError
from dsh_jax.methods.base import State
from dsh_jax.methods.consistency import Consistency, batch_size
from tests.small_dsh_gan import (
    BATCH,
    LABEL,
    NUM_CLASSES,
    assert_metrics,
    assert_near,
    build,
    compiled,
    cross_entropy,
    gan_of,
    handed_out,
    leaves,
    make_batch,
    method_and_state,
    moments,
    outputs,
    steps_of,
)

RNG = np.random.default_rng(0)
NUM_PIXELS = 4
WEIGHTS = {name: np.float32(RNG.normal(size=(NUM_PIXELS, 3)) * 3) for name in ("now", "average")}


class Linear:
    """Players whose class logits are linear in the pixels."""

    def evaluate(self, kept, player, inputs):
        if player == "representation":
            return inputs.reshape(len(inputs), -1)
        return inputs @ kept["representation"]["params"]


def made(**changes):
    """Weak views are the images, strong ones half as strong."""
    settings = dict(weak=lambda keys, images: images, strong=lambda keys, images: images / 2,
                    threshold=0.7, alignment=True, num_classes=3)  # fmt: skip
    return Consistency(**settings | changes)


def made_state(consistency, *, averaged=False):
    params = {"representation": WEIGHTS["now"], "classification": ()}
    ema = {"representation": {"params": WEIGHTS["average"]}} if averaged else {}
    return consistency.init(State(jnp.int32(0), params, {}, {}, ema))


def raw_batch(seed=0, n=12):
    rng = np.random.default_rng(seed)
    return {
        "unlabeled_image": rng.integers(0, 256, (n, 2, 2, 1), dtype=np.uint8),
        "unlabeled_position": np.arange(n, dtype=np.int32),
        "label": np.eye(3, dtype=np.float32)[rng.choice(3, size=10, p=[0.6, 0.3, 0.1])],
    }


def on_one_device(consistency):
    def run(state, batch):
        return consistency.pseudo_labeled(Linear(), state, batch, jax.random.key(0))

    mapped = jax.jit(jax.vmap(run, in_axes=(None, 0), axis_name=AXIS))

    def one(state, batch):
        return jax.tree.map(lambda x: x[0], mapped(state, jax.tree.map(lambda x: x[None], batch)))

    return one


def softmax(x):
    return np.exp(x) / np.exp(x).sum(1, keepdims=True)


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("alignment", [False, True])
def test_pseudo_labels_and_shares_by_definition(alignment, averaged):
    consistency = made(alignment=alignment)
    state, run = made_state(consistency, averaged=averaged), on_one_device(consistency)
    shares = {"predicted": np.full(3, 1 / 3), "labeled": np.full(3, 1 / 3)}
    confident_ones = 0
    for seed in range(3):
        batch = raw_batch(seed)
        state, views = run(state, batch)
        images = batch["unlabeled_image"] / 127.5 - 1.0
        weights = WEIGHTS["average" if averaged else "now"]
        chance = softmax(images.reshape(-1, NUM_PIXELS) @ weights)
        if alignment:
            seen = {"predicted": chance.mean(0), "labeled": batch["label"].mean(0)}
            shares = {name: 0.99 * shares[name] + 0.01 * seen[name] for name in shares}
            chance = chance * shares["labeled"] / shares["predicted"]
            chance = chance / chance.sum(1, keepdims=True)
        for name, share in shares.items():
            kept = state.batch_stats["consistency"][name]
            np.testing.assert_allclose(kept, share, rtol=1e-5)
        np.testing.assert_allclose(views["strong_image"], images / 2, atol=1e-6)
        np.testing.assert_array_equal(views["strong_label"], np.eye(3)[chance.argmax(1)])
        np.testing.assert_array_equal(views["confident"], chance.max(1) >= 0.7)
        confident_ones += views["confident"].sum()
    assert 0 < confident_ones < 36


def test_alignment_turns_labels_towards_classes_that_are_predicted_too_rarely():
    consistency = made(threshold=0.0)
    state, batch = made_state(consistency), raw_batch()
    images = batch["unlabeled_image"] / 127.5 - 1.0
    chance = softmax(images.reshape(-1, NUM_PIXELS) @ WEIGHTS["now"])
    stats = {"predicted": np.float32([1, 1, 1e-9]), "labeled": np.float32([1e-9, 1e-9, 1])}
    state = replace(state, batch_stats={"consistency": stats})
    _, views = on_one_device(consistency)(state, batch)
    # The ratios are about 1 : 1 : 100, after a step of 1 per cent.
    assert (views["strong_label"][:, 2] >= np.eye(3)[chance.argmax(1)][:, 2]).all()
    assert views["strong_label"][:, 2].sum() > (chance.argmax(1) == 2).sum()


def test_no_gradient_flows_into_the_teacher():
    consistency = made()
    state, batch = made_state(consistency, averaged=True), raw_batch()

    def total(params, ema):
        at = replace(state, params=params, ema=ema)
        _, views = jax.vmap(
            lambda b: consistency.pseudo_labeled(Linear(), at, b, jax.random.key(0)),
            axis_name=AXIS,
        )(jax.tree.map(lambda x: x[None], batch))
        return sum(view.sum() for view in views.values())

    gradients = jax.jit(jax.grad(total, (0, 1)))(state.params, state.ema)
    assert all(not leaf.any() for leaf in jax.tree.leaves(gradients))


# In the hash step.

ALONE = {"gan": False, "triplets": "none", "consistency__batch_size": BATCH,
         "consistency__threshold": 0.35, "loss__weights__consistency": 2.0,
         "loss__center": "csq", "loss__weights__center": 0.5}  # fmt: skip


@pytest.fixture(scope="module")
def handed():
    """A batch of the hash step with strong views, in [-1, 1]."""
    images = np.float32(RNG.uniform(-1, 1, (2, BATCH, 8, 8, 1)))
    strong = {
        "strong_image": images[1],
        "strong_label": np.eye(NUM_CLASSES, dtype=np.float32)[RNG.integers(0, 3, BATCH)],
        "confident": np.float32([1, 0, 1, 1, 0, 0, 1, 0]),
    }
    return {"image": images[0], "label": LABEL} | strong


@pytest.fixture(scope="module")
def hash_step():
    return compiled(steps_of(build(**ALONE)).hash_step)


def csq(codes, labels, centers):
    right = np.where(labels @ centers > 0, codes, 1 - codes)
    return -np.log(right).mean(1)


def entropies(logits, labels):
    return np.array([cross_entropy(*one) for one in zip(logits[:, None], labels, strict=True)])


def test_hash_step_with_strong_views_by_its_definition(hash_step, handed):
    _, state = method_and_state()
    _, metrics = hash_step(state, handed)
    _, logits, codes = outputs(state, np.concatenate([handed["image"], handed["strong_image"]]))
    centers = steps_of(build(**ALONE)).losses.centers
    assert centers.shape == (NUM_CLASSES, 4) and (np.abs(centers) == 1).all()
    pseudo = handed["strong_label"]
    of_views = entropies(logits[BATCH:], pseudo) + 0.5 * csq(codes[BATCH:], pseudo, centers)
    wanted = {
        "classification": cross_entropy(logits[:BATCH], LABEL),
        "center": csq(codes[:BATCH], LABEL, centers).mean(),
        "quantization": ((np.abs(2 * codes[:BATCH] - 1) - 1) ** 2).sum(1).mean(),
        "consistency": np.sum(of_views * handed["confident"]) / BATCH,
        "confident": 0.5,
    }
    wanted["loss"] = (wanted["classification"] + 0.5 * wanted["center"]
                      + 0.25 * wanted["quantization"] + 2.0 * wanted["consistency"])  # fmt: skip
    assert_metrics(metrics, "hash", wanted)


def test_views_that_are_not_confident_teach_no_class(hash_step, handed):
    _, state = method_and_state()
    after, _ = hash_step(state, handed)
    doubtful = handed["confident"] == 0
    other = np.where(doubtful[:, None], np.roll(handed["strong_label"], 1, 1),
                     handed["strong_label"])  # fmt: skip
    again, _ = hash_step(state, handed | {"strong_label": other})
    assert_near(moments(again, "hash"), moments(after, "hash"))
    # Those that are confident do.
    other = np.roll(handed["strong_label"], 1, 1)
    again, _ = hash_step(state, handed | {"strong_label": other})
    with pytest.raises(AssertionError):
        assert_near(moments(again, "hash"), moments(after, "hash"), rtol=1e-2)


def test_stages_of_the_network_alone():
    method = build(**ALONE, pretraining_steps=3)
    supervised, both = method.stages
    assert (supervised.name, supervised.num_steps, both.name) == ("supervised", 3, "consistency")
    assert supervised.batch.unlabeled_batch_size == 0
    assert both.batch.unlabeled_batch_size == BATCH
    assert method.codes == "network" and method.shared["consistency.batch_size"] == BATCH
    state = jax.eval_shape(method.init, jax.random.key(0))
    assert set(leaves(state.batch_stats["consistency"])) == {"['labeled']", "['predicted']"}


def test_the_discriminator_sees_some_of_the_unlabeled_images():
    method = build(consistency__batch_size=16, unlabeled_batch_size=8, augment__flip=False)
    gan, plain = gan_of(method), make_batch()
    assert gan.discriminate_every == 2
    assert [stage.batch.unlabeled_batch_size for stage in method.stages] == [16, 16]
    more = {name: np.concatenate([plain[name], plain[name][::-1]])
            for name in ("unlabeled_image", "unlabeled_position")}  # fmt: skip
    state = jax.jit(method.init)(jax.random.key(1))
    parts = handed_out(method, "joint", plain | more, state=jax.tree.map(np.asarray, state))
    wanted = more["unlabeled_image"][::2] / np.float32(127.5) - 1
    np.testing.assert_allclose(parts["discriminator"]["unlabeled_image"], wanted, atol=1e-6)
    assert len(parts["hash"]["strong_image"]) == len(parts["hash"]["confident"]) == 16
    assert "strong_image" not in parts["discriminator"]


def test_an_automatic_batch_is_three_views_for_each_labeled_image_with_one_label():
    config = ConfigDict({"batch_size": 32, "consistency": {"batch_size": -1}})
    assert [batch_size(config, labels) for labels in ("single", "multi")] == [96, 0]
    config.consistency.batch_size = 8
    assert [batch_size(config, labels) for labels in ("single", "multi")] == [8, 8]


def test_labeled_images_are_never_taught_to_be_of_no_class():
    with pytest.raises(UserError, match="consistency.batch_size is -1.*set the latter to 'mask'"):
        build(consistency__batch_size=-1, loss__unlabeled="zero")
