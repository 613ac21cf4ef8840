"""The losses of DSH-GAN's steps by their definitions, with one label and with several."""

import numpy as np
import pytest

from tests.small_dsh_gan import (
    BATCH,
    MULTI_HOT,
    assert_metrics,
    assert_near,
    build,
    compiled,
    compiled_parts,
    cross_entropy,
    handed_out,
    joint_batches,
    make_batch,
    method_and_state,
    moments,
    or_none,
    outputs,
    sigmoid,
    steps_of,
    triplet_losses,
)


@pytest.fixture(scope="module")
def batches():
    return joint_batches()


@pytest.fixture(scope="module")
def parts():
    return compiled_parts()


def test_discriminator_step_by_its_definition(parts, batches):
    _, state = method_and_state()
    batch = batches["discriminator"]
    _, metrics = parts["discriminator"](state, batch)
    kinds = [batch[f"{kind}image"] for kind in ("", "unlabeled_", "synthetic_")]
    probability, logits, _ = outputs(state, np.concatenate(kinds))
    real, synthetic = probability[: 2 * BATCH], probability[2 * BATCH :]
    labeled, unlabeled, of_synthetic = np.split(logits, 3)
    wanted = {
        # Real and synthetic images weigh the same, though there are twice as many real ones.
        "adversarial": (-np.log(real).mean() - np.log(1 - synthetic).mean()) / 2,
        "classification": (or_none(labeled, batch["label"])
                           + or_none(of_synthetic, batch["synthetic_label"])) / 2
                          + or_none(unlabeled),
        "labeled_classification": or_none(labeled, batch["label"]),
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
        "classification": or_none(logits, labels),
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
        "classification": or_none(logits[:BATCH], batch["synthetic_label"]),
        "triplet": triplet_losses(anchor, positive, negative).mean(),
    }
    wanted["loss"] = wanted["adversarial"] + wanted["classification"] + 0.5 * wanted["triplet"]
    assert_metrics(metrics, "generator", wanted)


def test_unlabeled_images_differ_by_the_classification_term_alone(parts, batches):
    _, state = method_and_state()
    masked_steps = steps_of(build(loss__unlabeled="mask"))
    batch = batches["discriminator"]
    masked, masked_metrics = compiled(masked_steps.discriminator_step)(state, batch)
    zero, zero_metrics = parts["discriminator"](state, batch)
    # Without "none" there is a plain softmax, and nothing of the unlabeled images.
    kinds = [batch[f"{kind}image"] for kind in ("", "synthetic_")]
    labels = [batch["label"], batch["synthetic_label"]]
    _, logits, _ = outputs(state, np.concatenate(kinds))
    wanted = cross_entropy(logits, np.concatenate(labels))  # as many real ones as synthetic ones
    assert_metrics(masked_metrics, "discriminator", {"classification": wanted})
    for name in ("adversarial", "real_accuracy", "synthetic_accuracy"):
        key = f"discriminator/{name}"
        assert masked_metrics[key] == pytest.approx(zero_metrics[key], rel=1e-6)
    gradients = [moments(after, "discriminator") for after in (zero, masked)]
    assert_near(gradients[0]["adversary"], gradients[1]["adversary"])
    with pytest.raises(AssertionError):
        assert_near(gradients[0]["classification"], gradients[1]["classification"], rtol=1e-2)


def test_synthetic_images_may_teach_no_classes(batches):
    _, state = method_and_state()
    steps = steps_of(build(loss__synthetic_class_weight=0.0, loss__unlabeled="mask"))
    batch = batches["discriminator"]
    after, metrics = compiled(steps.discriminator_step)(state, batch)
    _, logits, _ = outputs(state, batch["image"])
    wanted = cross_entropy(logits, batch["label"])
    assert metrics["discriminator/classification"] == pytest.approx(wanted, rel=1e-3)
    # Whatever the labels of synthetic images are, the same is learned.
    others = batch | {"synthetic_label": np.roll(batch["synthetic_label"], 1, axis=1)}
    again, _ = compiled(steps.discriminator_step)(state, others)
    assert_near(moments(after, "discriminator"), moments(again, "discriminator"))

    batch = batches["hash"]
    _, metrics = compiled(steps.hash_step)(state, batch)
    _, logits, _ = outputs(state, batch["image"])
    assert metrics["hash/classification"] == pytest.approx(
        cross_entropy(logits, batch["label"]), rel=1e-3
    )


# Several labels per image.


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
    steps = steps_of(build(loss__labels="multi", loss__unlabeled=unlabeled))
    batch = multi_batches["discriminator"]
    _, metrics = compiled(steps.discriminator_step)(state, batch)
    kinds = [batch[f"{kind}image"] for kind in ("", "unlabeled_", "synthetic_")]
    _, logits, _ = outputs(state, np.concatenate(kinds))
    labeled, none, of_synthetic = np.split(logits, [BATCH, 2 * BATCH])
    terms = [sigmoid_cross_entropy(labeled, MULTI_HOT),
             sigmoid_cross_entropy(of_synthetic, batch["synthetic_label"])]  # fmt: skip
    wanted = np.mean(terms)
    if unlabeled == "zero":
        wanted += sigmoid_cross_entropy(none, np.zeros_like(none))
    assert_metrics(metrics, "discriminator", {"classification": wanted})


def test_hash_step_with_several_labels(multi_batches):
    _, state = method_and_state()
    steps, batch = steps_of(build(loss__labels="multi")), multi_batches["hash"]
    _, metrics = compiled(steps.hash_step)(state, batch)
    roles = ("", "positive_", "negative_")
    images, labels = (
        np.concatenate([batch[f"{role}{kind}"] for role in roles]) for kind in ("image", "label")
    )
    _, logits, codes = outputs(state, images)
    assert_metrics(metrics, "hash", {
        "classification": sigmoid_cross_entropy(logits, labels),
        "triplet": triplet_losses(*np.split(codes, 3)).mean(),
    })  # fmt: skip


def test_a_weight_that_no_int32_holds():
    weights = steps_of(build(loss__weights__triplet=10**12)).losses.weights
    assert weights["triplet"] == 1e12 and type(weights["triplet"]) is float
