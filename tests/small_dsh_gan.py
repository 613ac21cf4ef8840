"""A small DSH-GAN that several tests share, its steps, and its losses written out in NumPy."""

import dataclasses
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from signatures import build_for_images

from configs import smoke
from dsh_jax.devices import compile_step, replicate, shard, unreplicate
from dsh_jax.methods import dsh_gan_steps

IMAGE_SHAPE, NUM_CLASSES, BATCH = (8, 8, 1), 3, 8
LABEL = np.eye(NUM_CLASSES, dtype=np.float32)[[0, 1, 2, 0, 1, 1, 0, 2]]
MULTI_HOT = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]] * 2, np.float32)
SEED, LEARNING_RATE = 5, 5e-4


def make_config(**changes):
    """The smoke config, smaller still; every second labeled image is an anchor."""
    config = smoke.get_config()
    config.update(num_bits=4, batch_size=BATCH, anchor_every=2, ema_decay=0.0)
    config.generator.update(width=2, z_dim=3)
    config.representation.update(width=2, features=6, dropout=0.0)
    config.augment.update(crop_padding=0, flip=True, synthetic=True)
    config.loss.update(
        adversarial="minimax", unlabeled="zero", triplet_options={"margin": 1.0},
        synthetic_class_weight=1.0,
    )
    config.loss.weights.update(triplet=0.5, quantization=0.25)
    for optimizer in config.optimizer.values():
        optimizer.update(schedule="constant", learning_rate=LEARNING_RATE)
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return config


def build(**changes):
    return build_for_images(make_config(**changes), IMAGE_SHAPE, NUM_CLASSES)


@lru_cache
def method_and_state(**changes):
    method = build(**changes)
    init = jax.jit(method.init)
    return method, jax.tree.map(np.asarray, init(jax.random.key(1)))


def gan_of(method):
    return method.stages[0].step.__self__


def steps_of(method):
    return gan_of(method).steps


def make_batch(label=LABEL, *, real_triplets=False):
    images = np.random.default_rng(0).integers(0, 256, (4, BATCH, *IMAGE_SHAPE), dtype=np.uint8)
    position = np.arange(BATCH, dtype=np.int32)
    batch = {"image": images[0], "label": label, "position": position}
    if real_triplets:
        other = np.roll(np.eye(NUM_CLASSES, dtype=np.float32), 1, axis=0)[label.argmax(1)]
        positives = {"positive_image": images[1], "positive_label": label}
        return batch | positives | {"negative_image": images[2], "negative_label": other}
    return batch | {"unlabeled_image": images[3], "unlabeled_position": position + BATCH}


def compiled(step):
    """The step on one device, without the device axis; arguments and results are NumPy arrays."""
    devices = jax.local_devices()[:1]
    pmapped = compile_step(step, SEED, devices)

    def run(state, batch):
        results = pmapped(replicate(state, devices), shard(batch, devices))
        return unreplicate(results)

    return run


def leaves(tree):
    return {jax.tree_util.keystr(p): x for p, x in jax.tree_util.tree_leaves_with_path(tree)}


def assert_same(actual, wanted):
    assert leaves(actual).keys() == leaves(wanted).keys()
    jax.tree.map(np.testing.assert_array_equal, actual, wanted)


def assert_every_leaf_moved(after, before):
    still = [path for path, leaf in leaves(after).items()
             if np.array_equal(leaf, leaves(before)[path])]  # fmt: skip
    assert leaves(after) and not still


def assert_near(actual, wanted, rtol=1e-4):
    for path, leaf in leaves(wanted).items():
        scale = np.abs(leaf).max(initial=1e-6)
        np.testing.assert_allclose(
            leaves(actual)[path], leaf, rtol=rtol, atol=rtol * scale, err_msg=path
        )


def moments(state, name):
    """An optimizer's first moments after one step: (1 - b1) times the gradients."""
    has_mu = lambda node: hasattr(node, "mu")  # noqa: E731
    (adam,) = filter(has_mu, jax.tree.leaves(state.opt_state[name], is_leaf=has_mu))
    return adam.mu


class Looking(dsh_gan_steps.Steps):
    """They change nothing and give back, as metrics, the batch that they are handed."""

    def discriminator_step(self, state, batch, key):
        return state, {f"discriminator/{name}": value for name, value in batch.items()}

    def hash_step(self, state, batch, key):
        return state, {f"hash/{name}": value for name, value in batch.items()}

    def generator_step(self, state, batch, key, *, with_triplets):
        seen = batch | {"with_triplets": jnp.asarray(with_triplets)}
        return state, {f"generator/{name}": value for name, value in seen.items()}


def handed_out(method, stage_name, batch, state=None):
    """What a stage's step hands to its parts: part -> batch."""
    steps = steps_of(method)
    looking = Looking(**{f.name: getattr(steps, f.name) for f in dataclasses.fields(steps)})
    looking = dataclasses.replace(gan_of(method), steps=looking)
    (stage,) = [stage for stage in method.stages if stage.name == stage_name]
    state = method_and_state()[1] if state is None else state
    _, seen = compiled(getattr(looking, stage.step.__name__))(state, batch)
    parts = {key.split("/")[0]: {} for key in seen}
    for key, value in seen.items():
        part, _, name = key.partition("/")
        parts[part][name] = value
    return parts


@lru_cache
def joint_batches():
    """What the joint step hands to its parts."""
    return handed_out(method_and_state()[0], "joint", make_batch())


@lru_cache
def compiled_parts():
    """The three steps compiled one by one, with the keys that the joint step gives them."""
    steps = steps_of(method_and_state()[0])

    def at_its_step(part, **options):
        return lambda state, batch, key: part(
            state, batch, jax.random.fold_in(key, state.step), **options
        )

    return {
        "discriminator": compiled(at_its_step(steps.discriminator_step)),
        "hash": compiled(at_its_step(steps.hash_step)),
        "generator": compiled(at_its_step(steps.generator_step, with_triplets=True)),
    }


def outputs(state, images):
    """What the networks, in training and without dropout, make of images, written out."""
    features = np.asarray(
        steps_of(method_and_state()[0]).players.networks["representation"].apply(
            {"params": state.params["representation"]}, images, train=False
        )
    )
    dense = {player: state.params[player]["Dense_0"] for player in ("adversary", "classification")}
    sources, logits = (features @ d["kernel"] + d["bias"] for d in dense.values())
    bits = features @ state.params["hash"]["Dense_0"]["kernel"]
    bits = 4.0 * (bits - bits.mean(0)) / np.sqrt(bits.var(0) + 1e-5)
    return sigmoid(sources[:, 0]), logits, sigmoid(bits)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cross_entropy(logits, labels):
    log_softmax = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -(labels * log_softmax).sum(1).mean()


def or_none(logits, labels=0):
    """Cross-entropy with the class "none", whose logit is 0; without labels it is the right one."""
    return (np.log(1 + np.exp(logits).sum(1)) - (labels * logits).sum(1)).mean()


def triplet_losses(anchor, positive, negative):
    distance = ((anchor - positive) ** 2).sum(1) - ((anchor - negative) ** 2).sum(1)
    return np.maximum(0, 1 + distance)


def assert_metrics(metrics, prefix, wanted):
    for name, value in wanted.items():
        assert metrics[f"{prefix}/{name}"] == pytest.approx(value, rel=1e-3), name
