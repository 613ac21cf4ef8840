"""Two devices against one: the same step on the same batch, shared out or whole.

The two devices are simulated, in a process of their own, which runs this file and leaves its
numbers for the tests.
"""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from signatures import build_for_images

from configs import cnnh_plus_digits_16bit, smoke
from dsh_jax.devices import compile_step, pick_devices, replicate, shard, unreplicate
from dsh_jax.errors import UserError
from dsh_jax.retrieval.counts import distance_counts

GAN_STEPS = ("pretraining", "joint", "triplet", "consistency")
STEPS = (*GAN_STEPS, "network")
NUM_CLASSES, IMAGE_SHAPE, BATCH, LEARNING_RATE = 3, (8, 8, 1), 8, 5e-4


def flatten(tree):
    return {jax.tree_util.keystr(p): np.asarray(x)
            for p, x in jax.tree_util.tree_leaves_with_path(tree)}  # fmt: skip


def methods():
    config = smoke.get_config()
    config.update(num_bits=4, ema_decay=0.9, batch_size=BATCH, anchor_every=2)
    config.generator.width = config.representation.width = 4
    config.representation.dropout = 0.0  # each device drops other features
    config.augment.flip = True  # each image's crop and flip must not depend on its device
    config.loss.weights.quantization = 0.1
    for optimizer in config.optimizer.values():
        optimizer.update(clip_norm=0.1, learning_rate=LEARNING_RATE)
    control = config.copy_and_resolve_references()
    control.update(gan=False, triplets="real")
    views = config.copy_and_resolve_references()
    views.update(gan=False, triplets="none")
    views.consistency.update(batch_size=BATCH, threshold=0.34)
    views.representation.update(name="whitened", features=0)
    plus = smoke.shrink(cnnh_plus_digits_16bit.get_config())
    plus.update(num_bits=4, batch_size=BATCH)
    plus.representation.update(width=4, dropout=0.0)
    plus.optimizer.network.update(clip_norm=0.1, learning_rate=LEARNING_RATE)
    return [build_for_images(c, IMAGE_SHAPE, NUM_CLASSES) for c in (config, control, views, plus)]


def random_batch(stage):
    rng = np.random.default_rng(0)

    def images():
        return rng.integers(0, 256, (BATCH, *IMAGE_SHAPE), dtype=np.uint8)

    classes = np.eye(NUM_CLASSES, dtype=np.float32)
    label, position = rng.integers(0, NUM_CLASSES, BATCH), np.arange(BATCH, dtype=np.int32)
    batch = {"image": images(), "label": classes[label], "position": position}
    if stage.name == "network":
        batch["target"] = rng.choice(np.float32([-1, 1]), (BATCH, 4))
    if stage.batch.unlabeled_batch_size:
        batch |= {"unlabeled_image": images(), "unlabeled_position": position + BATCH}
    if stage.batch.real_triplets:
        batch |= {"positive_image": images(), "positive_label": classes[label]}
        batch |= {"negative_image": images(), "negative_label": classes[label - 1]}
    return batch


def search_problem():
    """Query bits and labels, database bits and labels; the devices cannot share 5 queries alike."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 2, shape) for shape in ((5, 9), 5, (70, 9), 70)]


def main(path):
    """Takes one step of every kind on one and on two devices."""
    results = {}
    gan, control, views, plus = methods()
    of_gan, of_views, of_plus = (jax.jit(m.init)(jax.random.key(0)) for m in (gan, views, plus))
    # The control's step leaves the players of the GAN as they are.
    steps = [(of_gan, stage) for stage in (*gan.stages, *control.stages)]
    for start, stage in [*steps, (of_views, views.stages[1]), (of_plus, plus.stages[0])]:
        state = jax.tree.map(np.asarray, start)
        for num_devices in (1, 2):
            devices = pick_devices(num_devices, {"batch_size": BATCH})
            step = compile_step(stage.step, 0, devices)
            stacked = replicate(state, devices)
            batch = shard(random_batch(stage), devices)
            # Wait: simulated devices can dead-lock when several programs are in flight.
            stacked, metrics = jax.block_until_ready(step(stacked, batch))
            results[stage.name, num_devices] = (flatten(stacked), flatten(metrics))
    query, query_labels, database, labels = search_problem()
    results["counts"] = distance_counts(
        query, query_labels, database, labels, num_bits=9, query_block=2, database_block=16
    )
    Path(path).write_bytes(pickle.dumps(results))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    path = tmp_path_factory.mktemp("parallel") / "results.pickle"
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    root = str(Path(__file__).parents[1])
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": root}
    command = [sys.executable, __file__, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return pickle.loads(path.read_bytes())


def assert_near(actual, wanted, name):
    # Sums in another order differ in float32's last digits, of the largest number in the array.
    scale = np.abs(wanted).max(initial=1e-6)
    np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-4 * scale, err_msg=name)


@pytest.mark.parametrize("stage", STEPS)
def test_metrics_are_those_of_the_whole_batch(results, stage):
    (_, one), (_, two) = results[stage, 1], results[stage, 2]
    assert one.keys() == two.keys() and any("grad_norm" in name for name in one)
    for name, value in one.items():
        assert two[name].shape == (2,) and two[name][0] == two[name][1]
        assert_near(two[name][0], value[0], name)


@pytest.mark.parametrize("stage", STEPS)
def test_gradients_are_those_of_the_whole_batch(results, stage):
    # Adam's first moment is linear in the gradient, leaf by leaf, unlike the parameters.
    (one, _), (two, _) = results[stage, 1], results[stage, 2]
    moments = [name for name in one if ".mu[" in name]
    moved = [name for name in moments if one[name].any()]
    stepping = {"pretraining": {"discriminator", "generator"}, "triplet": {"hash"},
                "joint": {"discriminator", "hash", "generator"}, "consistency": {"hash"},
                "network": {"network"}}[stage]  # fmt: skip
    assert {name.split("'")[1] for name in moved} == stepping
    for name in moments:
        assert_near(two[name][0], one[name][0], name)


@pytest.mark.parametrize("stage", GAN_STEPS)
def test_statistics_are_those_of_the_whole_batch(results, stage):
    (one, _), (two, _) = results[stage, 1], results[stage, 2]
    names = [name for name in one if name.startswith(".batch_stats")]
    owners = {name.split("'")[1] for name in names}
    wanted = {"representation", "consistency"} if stage == "consistency" else {"generator"}
    assert owners == wanted | {"hash"}
    for name in names:
        assert_near(two[name][0], one[name][0], name)


@pytest.mark.parametrize("stage", STEPS)
def test_parameters_are_those_of_the_whole_batch(results, stage):
    # Adam's first step is the learning rate times the gradient's sign: a gradient that is nearly 0
    # may differ in sign, which makes two learning rates; few parameters have such a one.
    (one, _), (two, _) = results[stage, 1], results[stage, 2]
    names = [name for name in one if name.startswith((".params", ".ema"))]
    differences = np.concatenate([np.abs(two[n][0] - one[n][0]).ravel() for n in names])
    assert differences.max() <= 2 * LEARNING_RATE * 1.01
    assert (differences > 1e-5).mean() < 0.01


@pytest.mark.parametrize("stage", STEPS)
def test_both_devices_have_the_same_state(results, stage):
    for name, leaf in results[stage, 2][0].items():
        np.testing.assert_array_equal(leaf[0], leaf[1], err_msg=name)


def test_counts_are_shared_out_over_the_queries(results):
    query, query_labels, database, labels = search_problem()
    wanted = np.zeros((5, 10, 2), int)
    for i in range(5):
        for code, label in zip(database, labels, strict=True):
            wanted[i, np.sum(query[i] != code), int(query_labels[i] == label)] += 1
    np.testing.assert_array_equal(results["counts"], wanted)


def test_replicate_and_unreplicate_are_inverse():
    devices = jax.local_devices()[:1]
    tree = {"a": np.arange(6.0, dtype=np.float32).reshape(2, 3), "b": np.int32(4)}
    stacked = replicate(tree, devices)
    assert stacked["a"].shape == (1, 2, 3) and stacked["b"].shape == (1,)
    jax.tree.map(np.testing.assert_array_equal, unreplicate(stacked), tree)


def test_pick_devices_takes_what_is_asked_for():
    local = jax.local_devices()
    assert list(pick_devices(1, {"batch_size": 3})) == local[:1]
    assert list(pick_devices(0, {"batch_size": len(local)})) == local


@pytest.mark.parametrize("num_devices", [-1, 999])
def test_pick_devices_names_the_field_and_what_there_is(num_devices):
    present = len(jax.local_devices())
    with pytest.raises(UserError, match=f"num_devices is {num_devices}.* has {present} "):
        pick_devices(num_devices, {})


def test_pick_devices_names_the_batch_that_cannot_be_split(monkeypatch):
    device = jax.local_devices()[0]
    monkeypatch.setattr(jax, "local_devices", lambda: [device] * 4)
    assert len(pick_devices(2, {"batch_size": 6})) == 2
    with pytest.raises(UserError, match="encode_batch_size 6 is not divisible by 4 devices"):
        pick_devices(4, {"batch_size": 8, "encode_batch_size": 6})


if __name__ == "__main__":
    main(sys.argv[1])
