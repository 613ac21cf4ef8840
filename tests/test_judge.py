"""The judge of synthetic images: its numbers, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from signatures import image_signature

from configs import digits_16bit, smoke
from dsh_jax import judge as judges
from dsh_jax import load_encoder
from dsh_jax.data.images.augment import as_uint8, to_float
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.judge import Judge, load_judge
from dsh_jax.judged_workdir import judging_of
from dsh_jax.training.experiment import load_data, prepare
from dsh_jax.training.loop import train

EXAMPLE = str(Path(__file__).parents[1] / "examples/digits_16bit.safetensors")


@pytest.fixture(scope="module")
def digits():
    return load_data(digits_16bit.get_config(), None)


@pytest.fixture(scope="module", autouse=True)
def fewer_images():
    """Fewer images, to be quick; a multiple of the number of labeled ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judges, "IMAGES", 600)
        yield


@pytest.fixture(scope="module")
def judge(digits):
    return Judge(load_encoder(EXAMPLE), *digits)


def test_pixels_are_kept():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(as_uint8(to_float(pixels)), pixels)
    np.testing.assert_array_equal(as_uint8(np.array([np.nan, -2, 2])), [0, 0, 255])


def test_features_give_the_probabilities(digits):
    encoder, images = load_encoder(EXAMPLE), digits[0].images[:7]
    features = encoder.features(images)
    assert features.shape == (7, 256) and features.dtype == np.float32
    dense = encoder._variables["classification"]["params"]["Dense_0"]
    logits = features @ dense["kernel"] + dense["bias"]
    wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(encoder.probabilities(images), wanted, rtol=1e-3, atol=1e-5)
    for one, other in zip(
        encoder.features_and_probabilities(images),
        (features, encoder.probabilities(images)),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        encoder.represent_dataset(digits[0], np.arange(7)), features, rtol=1e-4, atol=1e-4
    )


def drawer(dataset, split, *, shift=0, noise=0.0):
    """Draws real training images of the classes asked for (or of the next ones), with noise."""
    rng, of_class = np.random.default_rng(0), {}
    for c in range(10):
        of_class[c] = split.training[dataset.labels[split.training] == c]

    def draw(key, label):
        ids = [rng.choice(of_class[(c + shift) % 10]) for c in label.argmax(1)]
        images = np.asarray(to_float(dataset.images[np.array(ids)]))
        return images + noise * rng.normal(size=images.shape)

    return draw


def test_real_images_are_near_and_of_their_classes(judge, digits):
    real = judge(drawer(*digits))
    assert real["judged_accuracy"] > 0.9
    wrong = judge(drawer(*digits, shift=1))
    assert wrong["judged_accuracy"] < 0.1
    noisy = judge(drawer(*digits, noise=0.5))
    assert noisy["frechet_distance"] > 3 * real["frechet_distance"] > 0


def test_noise_and_labels_are_the_same_every_time(judge, digits):
    asked = [[], []]
    for calls in asked:
        def draw(key, label, calls=calls):
            calls.append((str(key), label))
            return np.zeros((len(label), 8, 8, 1))

        judge(draw)
    assert len({key for key, _ in asked[0]}) == len(asked[0])  # new noise for every part
    for (one, label), (other, again) in zip(*asked, strict=True):
        assert one == other
        np.testing.assert_array_equal(label, again)
    counts = np.concatenate([label for _, label in asked[0]]).sum(0)
    np.testing.assert_array_equal(counts, judges.IMAGES // 10)  # as among the labeled images


def test_a_judge_that_does_not_fit_is_refused(tmp_path):
    right = image_signature((8, 8, 1), 10)
    assert load_judge(EXAMPLE, right, num_devices=1).has_classifier
    for signature, problem in (
        (image_signature((16, 16, 1), 10), r"encodes images of 8x8x1 .* the data gives 16x16x1"),
        (image_signature((8, 8, 1), 9), r"knows 10 classes \(0, .* but the data has 9 classes"),
        (image_signature((8, 8, 1), 10, "multi"), "is for single-label images"),
    ):
        with pytest.raises(UserError, match=problem):
            load_judge(EXAMPLE, signature, num_devices=1)
    with pytest.raises(UserError, match="there is no judge .*name an encoder file"):
        load_judge(str(tmp_path / "none"), right, num_devices=1)


def test_it_is_refused_before_training(tmp_path):
    config = smoke.get_config()
    config.judge = str(tmp_path / "none")
    with pytest.raises(UserError, match="there is no judge"):
        prepare(config, None)
    config.update(gan=False, triplets="real")
    with pytest.raises(UserError, match="judge is set, but gan is False"):
        prepare(config, None)


def test_a_run_is_judged_at_every_evaluation_and_by_eval(tmp_path):
    config = smoke.get_config()
    config.update(judge=EXAMPLE, pretraining_steps=0, num_steps=2, eval_every_steps=1)
    workdir = tmp_path / "run"
    train(config, workdir, {})
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    judged = [row for row in rows if "validation_map" in row]
    assert [row["step"] for row in judged] == [1, 2]
    for row in judged:
        assert row["frechet_distance"] > 0 and 0 <= row["judged_accuracy"] <= 1

    result = evaluate_workdir(workdir, checkpoint="latest")
    # The generator is restored, and judged on the same noise.
    for name in ("frechet_distance", "judged_accuracy"):
        assert result[name] == pytest.approx(judged[-1][name], rel=1e-3, abs=2e-3)
    assert result["judge"] == load_encoder(EXAMPLE).fingerprint
    encoder = load_encoder(workdir, checkpoint="latest")
    assert judging_of(workdir, config, encoder, "latest", "") is None
    with pytest.raises(UserError, match="there is no judge"):
        evaluate_workdir(workdir, judge=str(tmp_path / "none"))
    with pytest.raises(UserError, match="leave out --judge"):
        evaluate_workdir(workdir, baseline="itq", judge=EXAMPLE)
