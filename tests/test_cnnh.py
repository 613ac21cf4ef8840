"""CNNH and CNNH+: targets joined by id, the step by its definition, and the commands."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from signatures import classify

from configs import cnnh_plus_digits_16bit, smoke
from dsh_jax.data import targets
from dsh_jax.data.batches import BatchSpec, make_batch
from dsh_jax.data.targets import Targets
from dsh_jax.devices import compile_step, replicate, shard, unreplicate
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.methods import cnnh
from dsh_jax.training import loop
from dsh_jax.training.experiment import build_method, find_recipe, prepare, signature_of


def small(**changes):
    config = smoke.shrink(cnnh_plus_digits_16bit.get_config())
    config.representation.dropout = 0.0
    config.augment.crop_padding = 0
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return config


def test_targets_are_found_by_id(tmp_path):
    learned = Targets(np.array([2, 5, 9]), np.array([[1, -1], [1, 1], [-1, -1]], np.int8))
    targets.save(learned, tmp_path / "targets.npz")
    learned = targets.load(tmp_path / "targets.npz")
    np.testing.assert_array_equal(learned.of(np.array([9, 2, 9])), [[-1, -1], [1, -1], [-1, -1]])
    for missing in ([3], [10], [-1]):
        with pytest.raises(ValueError, match="no target code"):
            learned.of(np.array(missing))


def test_targets_that_do_not_fit(tmp_path):
    codes = np.ones((2, 4), np.int8)
    for ids in ([1], [2, 1], [1, 1]):
        with pytest.raises(ValueError, match="ids"):
            Targets(np.array(ids), codes)
    path = tmp_path / "targets.npz"
    path.write_bytes(b"PK\x03\x04 not whole")
    with pytest.raises(UserError, match="targets.npz cannot be read"):
        targets.load(path)


@pytest.mark.parametrize("form", ["classes", "full"])
def test_stage_1_gives_codes_that_separate_the_classes(form):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), 12))
    codes, report = cnnh.learn_targets(
        labels, num_classes=4, num_bits=16, seed=0, sweeps=8, form=form
    )
    assert codes.shape == (48, 16) and set(np.unique(codes)) == {-1, 1}
    distance = (codes[:, None] != codes[None]).sum(axis=2)
    same = labels[:, None] == labels[None]
    assert distance[same].max() < distance[~same].min()
    assert "by sweep" in report and "quantisation gap" in report


def test_multi_hot_labels_take_the_full_form():
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]] * 5)
    codes, _ = cnnh.learn_targets(
        labels, num_classes=3, num_bits=16, seed=0, sweeps=8, form="full"
    )
    distance = (codes[:, None] != codes[None]).sum(axis=2)
    assert distance[0, 1] < distance[0, 2] and distance[0, 1] < distance[1, 2]


def test_a_class_without_labeled_images():
    with pytest.raises(ValueError, match="class 1 has 0 images"):
        cnnh.learn_targets(
            np.array([0, 2]), num_classes=3, num_bits=8, seed=0, sweeps=2, form="classes"
        )


def test_batches_hold_the_targets_of_their_images(tmp_path):
    experiment = prepare(small(), tmp_path)
    ids = experiment.split.labeled
    codes = np.where(np.arange(len(ids))[:, None] >> np.arange(16) & 1, 1, -1).astype(np.int8)
    spec = BatchSpec(64, 0, False, seed=3)
    batch = make_batch(experiment.dataset, experiment.split, spec, 7, Targets(ids, codes))
    rows = np.searchsorted(ids, batch["id"])
    np.testing.assert_array_equal(batch["target"], codes[rows])
    np.testing.assert_array_equal(batch["image"], experiment.dataset.images[ids[rows]])


@pytest.mark.parametrize("class_outputs", [True, False])
def test_a_step_by_its_definition(tmp_path, class_outputs):
    config = small(class_outputs=class_outputs, loss__weights__classification=0.5, ema_decay=0.0)
    experiment = prepare(config, tmp_path)
    method, devices = experiment.method, experiment.devices[:1]
    (stage,) = method.stages
    state = method.init(jax.random.key(0))
    ids = experiment.split.labeled
    codes = np.random.default_rng(0).choice(np.int8([-1, 1]), (len(ids), 16))
    batch = make_batch(experiment.dataset, experiment.split, stage.batch, 0, Targets(ids, codes))
    step = compile_step(stage.step, 0, devices)
    after, metrics = unreplicate(
        step(replicate(state, devices), shard(batch, devices))
    )
    # Without dropout and augmentation, training and evaluation see the same.
    relaxed = np.asarray(method.encode(state, batch), np.float64)
    right = np.where(batch["target"] > 0, relaxed, 1 - relaxed)
    code_loss = -np.log(right).mean()
    assert metrics["network/code"] == pytest.approx(code_loss, rel=1e-4)
    assert metrics["network/right_bits"] == pytest.approx((right > 0.5).mean())
    wanted = code_loss
    if class_outputs:
        logits = np.asarray(classify(method, state, batch), np.float64)
        log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        classification = -(batch["label"] * log_softmax).sum(axis=1).mean()
        assert metrics["network/classification"] == pytest.approx(classification, rel=1e-4)
        wanted += 0.5 * classification
    assert metrics["network/loss"] == pytest.approx(wanted, rel=1e-4)
    assert set(after.params) == {"representation", "hash"} | (
        {"classification"} if class_outputs else set()
    )


def test_a_config_with_invalid_values():
    dataset = prepare(small(), Path("none")).dataset
    for change, named in (
        ({"codes__form": "none"}, "codes.form"),
        ({"loss__labels": "both"}, "loss.labels"),
        ({"dtype": "int8"}, "dtype"),
        ({"num_bits": 0}, "num_bits"),
        ({"loss__labels": "multi"}, "codes.form"),  # classes needs one label an image
        ({"codes__sweeps": 0}, "sweep"),
    ):
        with pytest.raises(UserError, match=named):
            config = small(**change)
            find_recipe(config)
            method = build_method(config, signature_of(config, dataset))
            method.learn_targets(dataset, np.arange(3))


def test_training_keeps_its_targets_and_resumes(tmp_path):
    config = small(num_steps=6)
    first = loop.train(config, tmp_path / "whole", {})
    kept = targets.load(tmp_path / "whole/targets.npz")
    experiment = prepare(config, tmp_path / "whole")
    np.testing.assert_array_equal(kept.ids, experiment.split.labeled)
    labels = experiment.dataset.labels[kept.ids]
    for label in range(10):  # one code a class
        assert len(np.unique(kept.codes[labels == label], axis=0)) == 1

    # Stopped in stage 2: the last checkpoint is after step 3, and targets are not learned again.
    before = (tmp_path / "whole/targets.npz").stat().st_mtime_ns
    for later in (tmp_path / "whole/checkpoints").glob("6"):
        shutil.rmtree(later)
    again = loop.train(config, tmp_path / "whole", {})
    assert (tmp_path / "whole/targets.npz").stat().st_mtime_ns == before
    for a, b in zip(*(jax.tree.leaves(s) for s in (first, again)), strict=True):
        np.testing.assert_array_equal(a, b)
    result = evaluate_workdir(tmp_path / "whole")
    assert result["codes"] == "cnnh_plus" and result["method"] == "cnnh"
    assert evaluate_workdir(tmp_path / "whole", baseline="classifier")["map"] > 0


def test_targets_of_other_images_are_refused(tmp_path):
    config = small()
    loop.train(config, tmp_path, {})
    other = Targets(np.arange(200), np.ones((200, 16), np.int8))
    targets.save(other, tmp_path / "targets.npz")
    with pytest.raises(UserError, match="targets.npz is for other items"):
        loop.train(config, tmp_path, {})
    config = small(class_outputs=False)
    loop.train(config, tmp_path / "plain", {})
    with pytest.raises(UserError, match="no classifier"):
        evaluate_workdir(tmp_path / "plain", baseline="classifier")
