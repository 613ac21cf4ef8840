"""Several steps in one call, on items that lie on the devices: the same training."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import smoke
from dsh_jax.checkpoints import METRIC
from dsh_jax.devices import replicate
from dsh_jax.errors import UserError
from dsh_jax.training import calls
from dsh_jax.training.experiment import prepare
from dsh_jax.training.loop import train


def config(**changes):
    found = smoke.get_config()
    found.update(num_steps=7, pretraining_steps=3, log_every_steps=2, eval_every_steps=4)
    found.consistency.batch_size = 16
    found.update(changes)
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """changes -> (state, metrics) of a run with them; each is trained once."""
    done = {}

    def run(**changes):
        key = tuple(sorted(changes.items()))
        if key not in done:
            place = tmp_path_factory.mktemp("calls") / "run"
            state = train(config(**changes), place, {})
            lines = map(json.loads, Path(place / "metrics.jsonl").read_text().splitlines())
            done[key] = (
                state,
                [
                    {k: v for k, v in line.items() if k not in ("seconds", "steps_per_second")}
                    for line in lines
                ],
            )
        return done[key]

    return run


@pytest.mark.parametrize(
    "changes", [{"items_on_device": "yes"},
                pytest.param({"steps_per_call": 2}, marks=pytest.mark.long),
                {"items_on_device": "yes", "steps_per_call": 2}]
)  # fmt: skip
def test_the_training_is_the_same(trained, changes):
    state, lines = trained(items_on_device="no", steps_per_call=1)
    other, of_other = trained(**changes)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), state, other)
    assert [line["step"] for line in lines] == [line["step"] for line in of_other]
    for line, same in zip(lines, of_other, strict=True):
        assert line.keys() == same.keys()
        for name in line.keys() - {METRIC}:  # ties of codes may fall otherwise
            assert same[name] == pytest.approx(line[name], rel=1e-3, abs=1e-4), name


def test_looking_items_up_changes_no_bit(trained):
    state, _ = trained(items_on_device="no", steps_per_call=1)
    other, _ = trained(items_on_device="yes")
    jax.tree.map(np.testing.assert_array_equal, state, other)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 6))
def test_groups_cover_the_steps_and_hold_no_boundary(first, length, size):
    groups = list(calls.grouped(first, first + length, size))
    assert [step for group in groups for step in group] == list(range(first, first + length))
    assert {len(group) for group in groups} <= {1, size}
    # A multiple of the size, after which a line may be written, is only ever a group's end.
    assert not [n for group in groups for n in group[1:] if n % size == 0]
    assert sum(len(group) == 1 for group in groups) <= 2 * (size - 1) or size == 1


def test_entries_that_hold_items():
    items = np.arange(10) * 10
    batch = {"image": np.array([3, 1]), "unlabeled_image": np.array([2]), "label": np.eye(2),
             "id": np.array([3, 1])}  # fmt: skip
    found = calls.looked_up(items, batch)
    assert list(found["image"]) == [30, 10] and list(found["unlabeled_image"]) == [20]
    assert found["label"] is batch["label"] and found["id"] is batch["id"]


class Gpu:
    platform = "gpu"


@pytest.mark.parametrize(
    "asked, log, evaluate, number",
    [(0, 50, 1000, 10), (0, 4, 6, 2), (0, 7, 7, 7), (25, 50, 100, 25)],
)
def test_steps_per_call_on_a_gpu(asked, log, evaluate, number):
    changed = config(steps_per_call=asked, log_every_steps=log, eval_every_steps=evaluate)
    assert calls.steps_per_call(changed, [Gpu()]) == number
    if not asked:
        assert calls.steps_per_call(changed, jax.devices("cpu")) == 1


def test_a_profile_can_read_the_program():
    experiment = prepare(config(), None)
    (*_, stage) = experiment.method.stages
    items = calls.put_items(experiment.dataset.images, experiment.local_devices)
    state = replicate(experiment.method.init(jax.random.key(0)), experiment.local_devices)
    batch = calls.make_group(experiment, stage, range(3, 4), None, by_row=True)
    assert batch["image"].shape == (1, 8)
    lowered = calls.compile_calls(experiment, stage, items).single.lower(state, batch)
    assert "1797x8x8x1xui8" in lowered.as_text()


def test_images_in_memory_lie_on_a_gpu_and_not_on_a_cpu():
    dataset = prepare(config(), None).dataset
    assert calls.resident_items(config(), dataset, [Gpu()]) is dataset.images
    assert calls.resident_items(config(), dataset, jax.devices("cpu")) is None
    assert calls.resident_items(config(items_on_device="no"), dataset, [Gpu()]) is None


def test_a_line_of_metrics_within_a_call_is_refused(tmp_path):
    with pytest.raises(UserError, match="steps_per_call is 3, which does not divide log_every"):
        train(config(steps_per_call=3), tmp_path / "run", {})
    assert not (tmp_path / "run/config.json").exists()
