"""DSH-GANs step by step: who is updated, by what, and in which order."""

import dataclasses

import jax
import numpy as np
import pytest
from signatures import build_for_images

from dsh_jax.data.images.augment import to_float
from dsh_jax.errors import UserError
from dsh_jax.methods import dsh_gan_steps
from tests.small_dsh_gan import (
    BATCH,
    IMAGE_SHAPE,
    LABEL,
    NUM_CLASSES,
    assert_every_leaf_moved,
    assert_metrics,
    assert_near,
    assert_same,
    build,
    compiled,
    compiled_parts,
    cross_entropy,
    handed_out,
    joint_batches,
    leaves,
    make_batch,
    make_config,
    method_and_state,
    moments,
    or_none,
    outputs,
    steps_of,
    triplet_losses,
)


@pytest.fixture(scope="module")
def batches():
    return joint_batches()


@pytest.fixture(scope="module")
def parts():
    return compiled_parts()


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

    def draw(synthesis, step):
        def program(state, batch, key):
            key = jax.random.fold_in(key, state.step)
            params = state.params["generator"]
            return synthesis.images(state, params, batch["position"], batch["label"], key)

        return compiled(program)(state.replace(step=np.int32(step)), places)[0]

    synthesis = steps_of(method_and_state()[0]).synthesis
    images = draw(synthesis, step=0)
    np.testing.assert_allclose(images, batch["synthetic_image"], rtol=1e-4, atol=1e-5)
    plain = draw(dataclasses.replace(synthesis, augment_synthetic=False), step=0)
    mirrored = [np.allclose(x, y[:, ::-1], atol=1e-5) for x, y in zip(images, plain, strict=True)]
    assert 0 < sum(mirrored) < BATCH
    back = np.where(np.reshape(mirrored, (-1, 1, 1, 1)), images[:, :, ::-1], images)
    np.testing.assert_allclose(back, plain, rtol=1e-4, atol=1e-5)
    assert not np.allclose(draw(synthesis, step=1), images, atol=1e-3)  # new noise at every step


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


def test_pretraining_is_the_discriminator_and_the_generator_step(batches):
    # On the same batches; that it leaves the hash stream as it is, test_parallel.py sees.
    handed = handed_out(method_and_state()[0], "pretraining", make_batch())
    assert handed.keys() == {"discriminator", "generator"}
    assert not handed["generator"].pop("with_triplets")
    for part, batch in handed.items():
        for name, value in batch.items():
            np.testing.assert_allclose(value, batches[part][name], rtol=1e-5, atol=1e-6)


# The controls.


def test_the_network_alone_is_the_hash_step_on_real_triplets():
    method, state = method_and_state(gan=False, triplets="real", augment__flip=False)
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


@pytest.mark.parametrize("triplets", ["real", "none"])
def test_the_network_alone_needs_no_generator(triplets):
    # 12x12 images are none that a generator can draw.
    config = make_config(gan=False, triplets=triplets)
    method = build_for_images(config, (12, 12, 1), NUM_CLASSES)
    state = jax.eval_shape(method.init, jax.random.key(0))
    assert set(state.params) == set(dsh_gan_steps.HASH)


def test_the_network_without_triplets_learns_from_labeled_images_alone():
    method, state = method_and_state(gan=False, triplets="none", augment__flip=False)
    (stage,) = method.stages
    assert not stage.batch.real_triplets and not stage.batch.unlabeled_batch_size
    batch = make_batch()
    batch = {name: batch[name] for name in ("image", "label", "position")}
    after, metrics = compiled(stage.step)(state, batch)
    assert_every_leaf_moved(after.params, state.params)
    # A player's first parameters do not depend on which others there are.
    _, logits, codes = outputs(method_and_state()[1], to_float(batch["image"]))
    wanted = {
        "classification": cross_entropy(logits, LABEL),
        "quantization": ((np.abs(2 * codes - 1) - 1) ** 2).sum(1).mean(),
    }
    wanted["loss"] = wanted["classification"] + 0.25 * wanted["quantization"]
    assert_metrics(metrics, "hash", wanted)
    names = {name.partition("/")[2] for name in metrics}
    assert names == {*wanted, "grad_norm"}


def test_real_triplets_with_the_gan_change_the_hash_steps_images_alone(batches):
    method = build(triplets="real")
    assert [stage.name for stage in method.stages] == ["pretraining", "joint"]
    assert method.synthesize is not None and method.stages[1].batch.real_triplets
    assert method.stages[1].batch.unlabeled_batch_size == 8
    real = make_batch(real_triplets=True)
    handed = handed_out(method, "joint", make_batch() | real)
    assert not handed["generator"].pop("with_triplets")
    for part in ("discriminator", "generator"):
        for name in batches[part].keys() - {"with_triplets", *real} | {"image", "label"}:
            np.testing.assert_allclose(
                handed[part][name], batches[part][name], rtol=1e-5, atol=1e-6, err_msg=name
            )
    batch = handed["hash"]
    for role in ("positive", "negative"):
        np.testing.assert_array_equal(batch[f"{role}_label"], real[f"{role}_label"][::2])
        images, wanted = batch[f"{role}_image"], to_float(real[f"{role}_image"][::2])
        for image, other in zip(images, wanted, strict=True):
            assert any(np.allclose(image, x, atol=1e-6) for x in (other, other[:, ::-1]))
    # Real ones count in the classification loss whatever the weight of synthetic ones is.
    steps = steps_of(build(triplets="real", loss__synthetic_class_weight=0.0))
    _, state = method_and_state()
    _, metrics = compiled(steps.hash_step)(state, batch)
    roles = ("", "positive_", "negative_")
    images, labels = (np.concatenate([batch[f"{role}{x}"] for role in roles])
                      for x in ("image", "label"))  # fmt: skip
    _, logits, codes = outputs(state, images)
    assert_metrics(metrics, "hash", {
        "classification": or_none(logits, labels),
        "triplet": triplet_losses(*np.split(codes, 3)).mean(),
    })  # fmt: skip


def test_gan_stages_are_the_papers():
    pretraining, joint = build().stages
    assert (pretraining.name, pretraining.num_steps) == ("pretraining", 2)
    assert (joint.name, joint.num_steps) == ("joint", 4)
    assert joint.batch == pretraining.batch and not joint.batch.real_triplets
    assert joint.batch.unlabeled_batch_size == 8


# Mistakes.


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_bits", 0),
        ("dtype", "float16"),
        ("triplets", "fake"),
        ("triplets", "none"),  # with a GAN
        ("gan", False),  # with synthetic triplets
        ("consistency.batch_size", 12),  # no multiple of unlabeled_batch_size
        ("consistency.threshold", 1.0),
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
def test_an_invalid_value_is_named_with_its_field(field, value):
    config = make_config()
    if field == "representation.depth":
        config.representation.name = "wide_resnet"
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError) as error:
        build_for_images(config, IMAGE_SHAPE, NUM_CLASSES)
    # The last part of the field's name will do.
    assert field.rpartition(".")[2] in str(error.value) and repr(value) in str(error.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"loss__labels": "multi", "consistency__batch_size": 8}, "consistency.batch_size to 0"),
        ({"unlabeled_batch_size": 0, "consistency__batch_size": 8}, "unlabeled_batch_size is 0"),
        ({"representation__name": "whitened"}, "'whitened'.*features and dropout to 0"),
    ],
)
def test_fields_that_contradict_each_other(changes, named):
    with pytest.raises(UserError, match=named):
        build(**changes)


def test_an_unknown_triplet_loss_is_named():
    with pytest.raises(UserError, match="'no_such_loss'.*dsh_jax.losses"):
        build(loss__triplet="no_such_loss")


def test_an_unknown_triplet_option_is_named():
    config = make_config()
    config.loss.triplet_options = {"margins": 2.0}
    with pytest.raises(UserError, match="'margins'.*'margin'"):
        build_for_images(config, IMAGE_SHAPE, NUM_CLASSES)
