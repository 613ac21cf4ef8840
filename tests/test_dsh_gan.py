"""DSH-GANs step by step: who is updated, by what, and in which order."""

import dataclasses
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from configs import smoke
from dsh_jax.data.images.augment import to_float
from dsh_jax.devices import compile_step, replicate, shard, unreplicate
from dsh_jax.errors import UserError
from dsh_jax.methods import base, dsh_gan, dsh_gan_steps

IMAGE_SHAPE, NUM_CLASSES, BATCH = (8, 8, 1), 3, 8
LABEL = np.eye(NUM_CLASSES, dtype=np.float32)[[0, 1, 2, 0, 1, 1, 0, 2]]
SEED, LEARNING_RATE = 5, 5e-4


def make_config(**changes):
    """The smoke config, smaller still; every second labeled image is an anchor."""
    config = smoke.get_config()
    config.update(num_bits=4, batch_size=BATCH, anchor_every=2, ema_decay=0.0)
    config.generator.update(width=2, z_dim=3)
    config.representation.update(width=2, features=6, dropout=0.0)
    config.augment.update(crop_padding=0, flip=True, synthetic=True)
    config.loss.update(
        adversarial="minimax", triplet_options={"margin": 1.0}, synthetic_class_weight=1.0
    )
    config.loss.weights.update(triplet=0.5, quantization=0.25)
    for optimizer in config.optimizer.values():
        optimizer.update(schedule="constant", learning_rate=LEARNING_RATE)
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return config


def build(**changes):
    return dsh_gan.build(make_config(**changes), IMAGE_SHAPE, NUM_CLASSES)


@lru_cache
def method_and_state(**changes):
    method = build(**changes)
    init = jax.jit(method.init)
    return method, jax.tree.map(np.asarray, init(jax.random.key(1)))


def gan_of(method):
    return method.stages[0].step.__self__


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


# The parts of the joint step, with the batch as it hands it to them.


class Looking(dsh_gan_steps.DshGan):
    """Its three steps change nothing and give back, as metrics, the batch that they are handed."""

    def discriminator_step(self, state, batch, key):
        return state, {f"discriminator/{name}": value for name, value in batch.items()}

    def hash_step(self, state, batch, key, *, synthetic):
        return state, {f"hash/{name}": value for name, value in batch.items()}

    def generator_step(self, state, batch, key, *, with_triplets):
        seen = batch | {"with_triplets": jnp.asarray(with_triplets)}
        return state, {f"generator/{name}": value for name, value in seen.items()}


def handed_out(method, stage_name, batch):
    """What a stage's step hands to its parts: part -> batch."""
    gan = gan_of(method)
    looking = Looking(**{f.name: getattr(gan, f.name) for f in dataclasses.fields(gan)})
    (stage,) = [stage for stage in method.stages if stage.name == stage_name]
    _, state = method_and_state()
    _, seen = compiled(getattr(looking, stage.step.__name__))(state, batch)
    parts = {key.split("/")[0]: {} for key in seen}
    for key, value in seen.items():
        part, _, name = key.partition("/")
        parts[part][name] = value
    return parts


@pytest.fixture(scope="module")
def batches():
    """What the joint step hands to its parts."""
    return handed_out(method_and_state()[0], "joint", make_batch())


@pytest.fixture(scope="module")
def parts():
    """The three steps compiled one by one, with the keys that the joint step gives them."""
    gan = gan_of(method_and_state()[0])

    def at_its_step(part, **options):
        return lambda state, batch, key: part(
            state, batch, jax.random.fold_in(key, state.step), **options
        )

    return {
        "discriminator": compiled(at_its_step(gan.discriminator_step)),
        "hash": compiled(at_its_step(gan.hash_step, synthetic=True)),
        "generator": compiled(at_its_step(gan.generator_step, with_triplets=True)),
    }


def test_hash_and_generator_step_see_the_same_triplets(batches):
    assert batches["generator"]["with_triplets"]
    for name, value in batches["hash"].items():
        np.testing.assert_array_equal(batches["generator"][name], value)


def test_real_images_are_augmented_and_in_minus_one_to_one(batches):
    for name in ("image", "unlabeled_image"):
        images, wanted = batches["discriminator"][name], to_float(make_batch()[name])
        mirrored = [np.allclose(image, other[:, ::-1], atol=1e-6)
                    for image, other in zip(images, wanted, strict=True)]  # fmt: skip
        assert 0 < sum(mirrored) < BATCH
        back = np.where(np.reshape(mirrored, (-1, 1, 1, 1)), images[:, :, ::-1], images)
        np.testing.assert_allclose(back, wanted, atol=1e-6)


def test_every_second_labeled_image_is_an_anchor(batches):
    labeled, triplets = batches["discriminator"], batches["hash"]
    np.testing.assert_array_equal(labeled["label"], LABEL)
    for name in ("image", "label"):
        np.testing.assert_array_equal(triplets[name], labeled[name][::2])


def test_positives_have_the_anchors_label_and_negatives_another(batches):
    anchor, positive, negative = (
        batches["hash"][f"{role}label"] for role in ("", "positive_", "negative_")
    )
    np.testing.assert_array_equal(positive, anchor)
    np.testing.assert_array_equal(negative.sum(1), np.ones(BATCH // 2))
    assert not (negative * anchor).any()


def test_triplets_are_the_synthetic_images_of_their_labels(batches):
    batch = batches["hash"]
    both = [np.concatenate([batch[f"positive_{x}"], batch[f"negative_{x}"]])
            for x in ("image", "label")]  # fmt: skip
    for part in batches.values():
        np.testing.assert_array_equal(part["synthetic_image"], both[0])
        np.testing.assert_array_equal(part["synthetic_label"], both[1])
    assert both[0].shape == (BATCH, *IMAGE_SHAPE) and np.abs(both[0]).max() <= 1


def test_synthetic_images_are_drawn_for_their_place_and_augmented(batches):
    batch = batches["hash"]
    places = {"position": batch["synthetic_position"], "label": batch["synthetic_label"]}
    assert len(set(places["position"].tolist())) == BATCH  # each has noise of its own
    _, state = method_and_state()

    def draw(gan, step):
        def program(state, batch, key):
            key = jax.random.fold_in(key, state.step)
            params = state.params["generator"]
            return gan.synthesize(state, params, batch["position"], batch["label"], key)

        return compiled(program)(state.replace(step=np.int32(step)), places)[0]

    gan = gan_of(method_and_state()[0])
    images = draw(gan, step=0)
    np.testing.assert_allclose(images, batch["synthetic_image"], rtol=1e-4, atol=1e-5)
    plain = draw(dataclasses.replace(gan, augment_synthetic=False), step=0)
    mirrored = [np.allclose(x, y[:, ::-1], atol=1e-5) for x, y in zip(images, plain, strict=True)]
    assert 0 < sum(mirrored) < BATCH
    back = np.where(np.reshape(mirrored, (-1, 1, 1, 1)), images[:, :, ::-1], images)
    np.testing.assert_allclose(back, plain, rtol=1e-4, atol=1e-5)
    assert not np.allclose(draw(gan, step=1), images, atol=1e-3)  # new noise at every step


@pytest.mark.parametrize(
    ("name", "players"),
    [
        ("discriminator", dsh_gan_steps.DISCRIMINATOR),
        ("hash", dsh_gan_steps.HASH),
        ("generator", dsh_gan_steps.GENERATOR),
    ],
)
def test_a_step_updates_exactly_the_players_it_owns(parts, batches, name, players):
    _, state = method_and_state()
    after, metrics = parts[name](state, batches[name])
    assert_every_leaf_moved({p: after.params[p] for p in players}, state.params)
    for player in state.params.keys() - set(players):
        assert_same(after.params[player], state.params[player])
    assert_every_leaf_moved(after.opt_state[name], state.opt_state[name])
    for other in state.opt_state.keys() - {name}:
        assert_same(after.opt_state[other], state.opt_state[other])
    # Running statistics: the generator's are its own step's, the hash stream's the hash step's.
    for player, stats in state.batch_stats.items():
        if player == name:
            assert_every_leaf_moved(after.batch_stats[player], stats)
        else:
            assert_same(after.batch_stats[player], stats)
    assert after.step == 0 and {key.split("/")[0] for key in metrics} == {name}


def test_ownership_is_the_methods():
    assert set(dsh_gan_steps.DISCRIMINATOR) == {"representation", "adversary", "classification"}
    assert set(dsh_gan_steps.HASH) == {"hash", "representation", "classification"}
    assert set(dsh_gan_steps.GENERATOR) == {"generator"}


def test_joint_step_is_the_three_steps_in_order(parts, batches):
    method, state = method_and_state()
    wanted, wanted_metrics = state, {}
    for name in ("discriminator", "hash", "generator"):
        wanted, metrics = parts[name](wanted, batches[name])
        wanted_metrics |= metrics
    after, metrics = compiled(method.stages[1].step)(state, make_batch())
    assert metrics.keys() == wanted_metrics.keys()
    # In another order the losses would differ in the third digit.
    assert_near(metrics, wanted_metrics)
    for name in state.opt_state:
        assert_near(moments(after, name), moments(wanted, name))
    assert_near(after.batch_stats, wanted.batch_stats)
    # Adam's first step is the learning rate times the sign of the gradient; a gradient that
    # is nearly 0 may take another sign, so only nearly all the parameters agree.
    pairs = [(leaf, leaves(wanted.params)[path]) for path, leaf in leaves(after.params).items()]
    differing = np.concatenate([np.abs(a - b).ravel() > 1e-5 for a, b in pairs])
    assert differing.mean() < 0.01
    assert after.step == 1


def outputs(state, images):
    """What the networks, in training and without dropout, make of images, written out."""
    features = np.asarray(
        gan_of(method_and_state()[0]).players.networks["representation"].apply(
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


def triplet_losses(anchor, positive, negative):
    distance = ((anchor - positive) ** 2).sum(1) - ((anchor - negative) ** 2).sum(1)
    return np.maximum(0, 1 + distance)


def assert_metrics(metrics, prefix, wanted):
    for name, value in wanted.items():
        assert metrics[f"{prefix}/{name}"] == pytest.approx(value, rel=1e-3), name


def test_discriminator_step_by_its_definition(parts, batches):
    _, state = method_and_state()
    batch = batches["discriminator"]
    _, metrics = parts["discriminator"](state, batch)
    kinds = [batch[f"{kind}image"] for kind in ("", "unlabeled_", "synthetic_")]
    probability, logits, _ = outputs(state, np.concatenate(kinds))
    real, synthetic = probability[: 2 * BATCH], probability[2 * BATCH :]
    labeled, unlabeled, of_synthetic = np.split(logits, 3)
    none = np.mean(np.log(1 + np.exp(unlabeled).sum(1)))  # one more class, with a logit of 0
    wanted = {
        # Real and synthetic images weigh the same, though there are twice as many real ones.
        "adversarial": (-np.log(real).mean() - np.log(1 - synthetic).mean()) / 2,
        "classification": (cross_entropy(labeled, batch["label"]) + none
                           + cross_entropy(of_synthetic, batch["synthetic_label"])) / 3,
        "real_accuracy": (real > 0.5).mean(),
        "synthetic_accuracy": (synthetic < 0.5).mean(),
    }  # fmt: skip
    wanted["loss"] = wanted["adversarial"] + wanted["classification"]
    assert_metrics(metrics, "discriminator", wanted)


def test_hash_step_by_its_definition(parts, batches):
    _, state = method_and_state()
    batch, roles = batches["hash"], ("", "positive_", "negative_")
    _, metrics = parts["hash"](state, batch)
    labels = np.concatenate([batch[f"{role}label"] for role in roles])
    _, logits, codes = outputs(state, np.concatenate([batch[f"{role}image"] for role in roles]))
    triplets = triplet_losses(*np.split(codes, 3))
    wanted = {
        "triplet": triplets.mean(),
        "classification": cross_entropy(logits, labels),
        "quantization": ((np.abs(2 * codes - 1) - 1) ** 2).sum(1).mean(),
        "active_triplets": (triplets > 0).mean(),
    }
    wanted["loss"] = (
        0.5 * wanted["triplet"] + wanted["classification"] + 0.25 * wanted["quantization"]
    )
    assert_metrics(metrics, "hash", wanted)


def test_generator_step_by_its_definition(parts, batches):
    _, state = method_and_state()
    batch = batches["generator"]
    _, metrics = parts["generator"](state, batch)
    # It draws again the images that the other steps were given.
    images = np.concatenate([batch["synthetic_image"], batch["image"]])
    probability, logits, codes = outputs(state, images)
    positive, negative, anchor = np.split(codes, 3)
    wanted = {
        "adversarial": np.log(1 - probability[:BATCH]).mean(),  # minimax
        "classification": cross_entropy(logits[:BATCH], batch["synthetic_label"]),
        "triplet": triplet_losses(anchor, positive, negative).mean(),
    }
    wanted["loss"] = wanted["adversarial"] + wanted["classification"] + 0.5 * wanted["triplet"]
    assert_metrics(metrics, "generator", wanted)


def test_unlabeled_images_differ_by_the_classification_term_alone(parts, batches):
    _, state = method_and_state()
    masked_gan = gan_of(build(loss__unlabeled="mask"))
    batch = batches["discriminator"]
    masked, masked_metrics = compiled(masked_gan.discriminator_step)(state, batch)
    zero, zero_metrics = parts["discriminator"](state, batch)
    # The zero vector is one term more in the mean of the classification terms: one more class,
    # with a logit of 0, is the right one.
    _, logits, _ = outputs(state, batch["unlabeled_image"])
    no_class = np.mean(np.log(1 + np.exp(logits).sum(1)))
    terms = [3 * zero_metrics["discriminator/classification"],
             2 * masked_metrics["discriminator/classification"]]  # fmt: skip
    assert terms[0] - terms[1] == pytest.approx(no_class, rel=1e-3)
    for name in ("adversarial", "real_accuracy", "synthetic_accuracy"):
        key = f"discriminator/{name}"
        assert masked_metrics[key] == pytest.approx(zero_metrics[key], rel=1e-6)
    gradients = [moments(after, "discriminator") for after in (zero, masked)]
    assert_near(gradients[0]["adversary"], gradients[1]["adversary"])
    with pytest.raises(AssertionError):
        assert_near(gradients[0]["classification"], gradients[1]["classification"], rtol=1e-2)


def test_synthetic_images_may_teach_no_classes(batches):
    _, state = method_and_state()
    gan = gan_of(build(loss__synthetic_class_weight=0.0, loss__unlabeled="mask"))
    batch = batches["discriminator"]
    after, metrics = compiled(gan.discriminator_step)(state, batch)
    _, logits, _ = outputs(state, batch["image"])
    wanted = cross_entropy(logits, batch["label"])
    assert metrics["discriminator/classification"] == pytest.approx(wanted, rel=1e-3)
    # Whatever the labels of synthetic images are, the same is learned.
    others = batch | {"synthetic_label": np.roll(batch["synthetic_label"], 1, axis=1)}
    again, _ = compiled(gan.discriminator_step)(state, others)
    assert_near(moments(after, "discriminator"), moments(again, "discriminator"))

    batch = batches["hash"]
    hashing = partial(gan.hash_step, synthetic=True)
    _, metrics = compiled(hashing)(state, batch)
    _, logits, _ = outputs(state, batch["image"])
    assert metrics["hash/classification"] == pytest.approx(
        cross_entropy(logits, batch["label"]), rel=1e-3
    )


def test_pretraining_is_the_discriminator_and_the_generator_step(batches):
    # On the same batches; that it leaves the hash stream as it is, test_parallel.py sees.
    handed = handed_out(method_and_state()[0], "pretraining", make_batch())
    assert handed.keys() == {"discriminator", "generator"}
    assert not handed["generator"].pop("with_triplets")
    for part, batch in handed.items():
        for name, value in batch.items():
            np.testing.assert_allclose(value, batches[part][name], rtol=1e-5, atol=1e-6)


# Multi-label data, the hinge game with spectral normalisation, a triplet loss of one's own and
# averages, all in one run.

MULTI_HOT = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]] * 2, np.float32)
EMA_DECAY = 0.05


def own_triplet(anchor, positive, negative, *, scale):
    return scale + jnp.sum(jnp.square(anchor - positive)) - jnp.sum(anchor * negative)


@lru_cache
def hinge_method():
    config = make_config(loss__labels="multi", loss__adversarial="hinge", ema_decay=EMA_DECAY)
    config.representation.spectral_norm = True
    config.loss.triplet = f"{__name__}:own_triplet"
    config.loss.triplet_options = {"scale": 100.0}
    return dsh_gan.build(config, IMAGE_SHAPE, NUM_CLASSES)


@pytest.fixture(scope="module")
def hinge_run():
    method = hinge_method()
    state = jax.tree.map(np.asarray, jax.jit(method.init)(jax.random.key(1)))
    step, states, metrics = compiled(method.stages[1].step), [state], []
    for _ in range(30):
        state, m = step(states[-1], make_batch(MULTI_HOT))
        states, metrics = [*states, state], [*metrics, m]
    return states, metrics


def test_multi_label_hinge_run_stays_finite(hinge_run):
    states, metrics = hinge_run
    assert all(np.isfinite(value) for row in metrics for value in row.values())
    # One leaf may stand still: where all hinges are active, 1 - x of real and 1 + x of synthetic
    # images move the adversary's bias by as much up as down.
    before, after = ({player: params for player, params in state.params.items()
                      if player != "adversary"} for state in (states[0], states[-1]))  # fmt: skip
    assert_every_leaf_moved(after, before)
    # At first every sigmoid is near 1/2: the sum of the three classes' losses is 3 log 2 = 2.08.
    assert 1.5 < metrics[0]["hash/classification"] < 4


def test_spectral_norm_divides_by_the_largest_singular_value(hinge_run):
    last = hinge_run[0][-1]
    for player, stats in last.batch_stats.items():
        if player not in ("representation", "adversary"):
            continue
        sigmas = {path: leaf for path, leaf in leaves(stats).items() if "sigma" in path}
        kernels = {path: leaf for path, leaf in leaves(last.params[player]).items()
                   if "kernel" in path and ("Conv" in path or player == "adversary")}  # fmt: skip
        assert len(sigmas) == len(kernels) == (3 if player == "representation" else 1)
        for sigma, kernel in zip(sigmas.values(), kernels.values(), strict=True):
            largest = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
            assert largest / sigma == pytest.approx(1, abs=0.03)


def test_a_triplet_loss_of_ones_own_is_used(hinge_run):
    # It lies between scale - num_bits and scale + num_bits.
    for name in ("hash/triplet", "generator/triplet"):
        assert 96 < hinge_run[1][0][name] < 104
    assert hinge_run[1][0]["hash/active_triplets"] == 1


def test_averages_follow_parameters_and_statistics(hinge_run):
    (start, first, *_), _ = hinge_run
    assert set(start.ema) == {"generator", "representation", "hash", "classification"}
    for player, average in start.ema.items():
        assert_same(average, base.variables(start, player))
        # decay = min(0.05, (1 + 0) / (10 + 0))
        wanted = jax.tree.map(
            lambda old, new: EMA_DECAY * old + (1 - EMA_DECAY) * new,
            average, base.variables(first, player),
        )  # fmt: skip
        assert_near(first.ema[player], wanted)


def test_codes_and_samples_come_from_the_averages(hinge_run):
    method, state = hinge_method(), hinge_run[0][-1]
    encode, key = jax.jit(method.encode), jax.random.key(0)
    codes, images = encode(state, make_batch()), method.synthesize(state, key, LABEL)
    assert codes.shape == (BATCH, 4) and images.shape == (BATCH, *IMAGE_SHAPE)
    params = {player: average["params"] for player, average in state.ema.items()}
    stats = {player: average["batch_stats"] for player, average in state.ema.items()
             if "batch_stats" in average}  # fmt: skip
    assert stats
    other = state.replace(params=state.params | params, batch_stats=state.batch_stats | stats)
    np.testing.assert_array_equal(encode(other, make_batch()), codes)
    without = jax.jit(method.encode)(other.replace(ema={}), make_batch())
    np.testing.assert_allclose(without, codes, rtol=1e-5, atol=1e-6)
    unaveraged = jax.jit(method.encode)(state.replace(ema={}), make_batch())
    assert not np.allclose(unaveraged, codes, rtol=1e-4)
    np.testing.assert_allclose(
        method.synthesize(other.replace(ema={}), key, LABEL), images, rtol=1e-4, atol=1e-5
    )


def test_without_averages_there_are_none():
    assert method_and_state()[1].ema == {}


def test_the_average_begins_close_and_ends_slow():
    params, ema = {"p": jnp.ones(1)}, {"p": {"params": jnp.zeros(1)}}
    state = base.State(jnp.int32(0), params, {}, {}, ema)
    # decay = min(0.999, (1 + step) / (10 + step)): 1/10 at step 0, 100/109 at 99, 0.999 at 10**6.
    for step, decay in ((0, 0.1), (99, 100 / 109), (10**6, 0.999)):
        after = base.advance(state.replace(step=jnp.int32(step)), 0.999)
        np.testing.assert_allclose(after.ema["p"]["params"], [1 - decay], rtol=1e-3)
        assert after.step == step + 1


# The control.


def test_control_is_the_hash_step_on_real_triplets():
    method, state = method_and_state(triplets="real", augment__flip=False)
    (stage,) = method.stages
    assert stage.name == "triplet" and stage.batch.real_triplets
    assert stage.batch.unlabeled_batch_size == 0
    assert method.synthesize is None and method.num_steps == stage.num_steps == 4
    batch = make_batch(real_triplets=True)
    after, metrics = compiled(stage.step)(state, batch)
    assert {key.split("/")[0] for key in metrics} == {"hash"}
    assert_every_leaf_moved({p: after.params[p] for p in dsh_gan_steps.HASH}, state.params)
    for player in state.params.keys() - set(dsh_gan_steps.HASH):
        assert_same(after.params[player], state.params[player])
    for name in state.opt_state.keys() - {"hash"}:
        assert_same(after.opt_state[name], state.opt_state[name])
    (handed,) = handed_out(method, "triplet", batch).values()
    for name, array in batch.items():
        wanted = to_float(array) if name.endswith("image") else array
        np.testing.assert_allclose(handed[name], wanted, atol=1e-6)


def test_control_needs_no_generator():
    # 12x12 images are none that a generator can draw.
    method = dsh_gan.build(make_config(triplets="real"), (12, 12, 1), NUM_CLASSES)
    state = jax.eval_shape(method.init, jax.random.key(0))
    assert state.params["hash"]


def test_gan_stages_are_the_papers():
    pretraining, joint = build().stages
    assert (pretraining.name, pretraining.num_steps) == ("pretraining", 2)
    assert (joint.name, joint.num_steps) == ("joint", 4)
    assert joint.batch == pretraining.batch and not joint.batch.real_triplets
    assert joint.batch.unlabeled_batch_size == 8


# Labels of negatives.


@settings(max_examples=60, deadline=None)
@given(
    label=hnp.arrays(np.float32, st.just(6), elements=st.sampled_from([0.0, 1.0])).filter(
        lambda label: not label.all()
    ),
    seed=st.integers(0, 2**31 - 1),
)
def test_other_label_shares_no_label(label, seed):
    other = np.asarray(dsh_gan_steps.other_label(jax.random.key(seed), jnp.asarray(label)))
    assert sorted(other) == [0, 0, 0, 0, 0, 1] and other.dtype == label.dtype
    assert not (other * label).any()


@pytest.mark.parametrize("label", [[0, 1, 0, 0, 0], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0]])
def test_other_label_draws_all_others_equally_often(label):
    n, label = 2000, np.array(label, np.float32)
    keys = jax.random.split(jax.random.key(0), n)
    drawn = jax.vmap(dsh_gan_steps.other_label, (0, None))(keys, jnp.asarray(label)).mean(0)
    others = label == 0
    # The standard deviation of a share of 1/3 of 2000 is 0.011.
    np.testing.assert_allclose(drawn[others], 1 / others.sum(), atol=0.05)
    np.testing.assert_array_equal(drawn[~others], 0)


def test_other_label_draws_what_it_always_drew():
    """A changed draw would make single-label runs others than they were."""
    keys = jax.random.split(jax.random.key(0), 8)
    drawn = jax.vmap(dsh_gan_steps.other_label)(keys, np.eye(8, dtype=np.float32))
    assert drawn.argmax(1).tolist() == [6, 7, 1, 2, 7, 3, 0, 4]


binary = st.sampled_from([0.0, 1.0])


@settings(max_examples=60, deadline=None)
@given(
    label=hnp.arrays(np.float32, 5, elements=binary),
    occurring=hnp.arrays(np.float32, (4, 5), elements=binary),
    seed=st.integers(0, 2**31 - 1),
)
def test_disjoint_label_is_one_that_occurs_or_one_that_lacks(label, occurring, seed):
    arguments = jnp.asarray(label), jnp.asarray(occurring)
    other = np.asarray(dsh_gan_steps.disjoint_label(jax.random.key(seed), *arguments))
    assert other.dtype == np.float32 and not (other * label).any()
    rows = [row.tolist() for row in occurring if not (row * label).any()]
    if rows:
        assert other.tolist() in rows
    else:
        assert sorted(other) == [0, 0, 0, 0, 0 if label.all() else 1]


def test_disjoint_label_draws_all_that_occur_equally_often():
    occurring = [[0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0], [1, 0, 0, 0]]
    keys = jax.random.split(jax.random.key(0), 2000)

    def draw(label, rows):
        arguments = jnp.asarray(label, jnp.float32), jnp.asarray(rows, jnp.float32)
        return jax.vmap(dsh_gan_steps.disjoint_label, (0, None, None))(keys, *arguments)

    drawn = np.asarray(draw([1, 0, 0, 0], occurring))
    for row in (0, 2, 3):
        # The standard deviation of a share of 1/3 of 2000 is 0.011.
        assert (drawn == occurring[row]).all(1).mean() == pytest.approx(1 / 3, abs=0.05)
    # None of the first three rows will do: one class of the two that are lacking.
    lacking = draw([0, 1, 0, 1], occurring[:3]).mean(0)
    np.testing.assert_allclose(lacking, [0.5, 0, 0.5, 0], atol=0.06)


# Several labels an image, with the losses that they have.


@pytest.fixture(scope="module")
def multi_batches():
    """What the joint step hands to its parts; each image of the batch is an anchor."""
    return handed_out(build(loss__labels="multi", anchor_every=1), "joint", make_batch(MULTI_HOT))


def test_negatives_have_the_labels_of_another_image(multi_batches):
    batch = multi_batches["hash"]
    np.testing.assert_array_equal(batch["label"], MULTI_HOT)
    np.testing.assert_array_equal(batch["positive_label"], MULTI_HOT)
    assert not (batch["negative_label"] * MULTI_HOT).any()
    occurring = {tuple(row) for row in MULTI_HOT}
    assert {tuple(row) for row in batch["negative_label"]} <= occurring
    # Nothing is for [1, 0, 1] but [0, 1, 0], while [0, 0, 1] may have either of two.
    np.testing.assert_array_equal(batch["negative_label"][3::4], [[0, 1, 0]] * 2)


def sigmoid_cross_entropy(logits, labels):
    right = np.where(labels > 0, sigmoid(logits), 1 - sigmoid(logits))
    return -np.log(right).sum(1).mean()


@pytest.mark.parametrize("unlabeled", ["zero", "mask"])
def test_discriminator_step_with_several_labels(multi_batches, unlabeled):
    _, state = method_and_state()
    gan = gan_of(build(loss__labels="multi", loss__unlabeled=unlabeled))
    batch = multi_batches["discriminator"]
    _, metrics = compiled(gan.discriminator_step)(state, batch)
    kinds = [batch[f"{kind}image"] for kind in ("", "unlabeled_", "synthetic_")]
    _, logits, _ = outputs(state, np.concatenate(kinds))
    labeled, none, of_synthetic = np.split(logits, [BATCH, 2 * BATCH])
    terms = [sigmoid_cross_entropy(labeled, MULTI_HOT),
             sigmoid_cross_entropy(of_synthetic, batch["synthetic_label"])]  # fmt: skip
    if unlabeled == "zero":
        terms.append(sigmoid_cross_entropy(none, np.zeros_like(none)))
    assert_metrics(metrics, "discriminator", {"classification": np.mean(terms)})


def test_hash_step_with_several_labels(multi_batches):
    _, state = method_and_state()
    gan, batch = gan_of(build(loss__labels="multi")), multi_batches["hash"]
    _, metrics = compiled(partial(gan.hash_step, synthetic=True))(state, batch)
    roles = ("", "positive_", "negative_")
    images, labels = (
        np.concatenate([batch[f"{role}{kind}"] for role in roles]) for kind in ("image", "label")
    )
    _, logits, codes = outputs(state, images)
    assert_metrics(metrics, "hash", {
        "classification": sigmoid_cross_entropy(logits, labels),
        "triplet": triplet_losses(*np.split(codes, 3)).mean(),
    })  # fmt: skip


# Mistakes.


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_bits", 0),
        ("dtype", "float16"),
        ("triplets", "fake"),
        ("anchor_every", 0),
        ("anchor_every", 3),
        ("loss.adversarial", "wasserstein"),
        ("loss.unlabeled", "drop"),
        ("loss.labels", "many"),
        ("representation.name", "resnet"),
        ("representation.norm", "batch"),
        ("representation.depth", 12),
        ("optimizer.hash.schedule", "step"),
        ("optimizer.generator.schedule", "step"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_field(field, value):
    config = make_config()
    if field == "representation.depth":
        config.representation.name = "wide_resnet"
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError) as error:
        dsh_gan.build(config, IMAGE_SHAPE, NUM_CLASSES)
    # The last part of the field's name will do.
    assert field.rpartition(".")[2] in str(error.value) and repr(value) in str(error.value)


def test_a_triplet_loss_that_is_none_is_named():
    with pytest.raises(UserError, match="'no_such_loss'.*dsh_jax.losses.images"):
        build(loss__triplet="no_such_loss")


def test_a_triplet_option_that_is_none_is_named():
    config = make_config()
    config.loss.triplet_options = {"margins": 2.0}
    with pytest.raises(UserError, match="'margins'.*'margin'"):
        dsh_gan.build(config, IMAGE_SHAPE, NUM_CLASSES)
