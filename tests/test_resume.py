"""A run that is stopped and resumed ends as one that was not; a workdir is never spoiled."""

import hashlib
import json
import os
import shutil
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import smoke
from dsh_jax import interrupt
from dsh_jax.checkpoints import Checkpoints, DamagedCheckpoint
from dsh_jax.devices import unreplicate
from dsh_jax.errors import UserError
from dsh_jax.training import calls, loop, progress, trainer

NUM_STEPS = 6  # two of stage 1, four of stage 2; checkpoints at 3 and 6


def train(workdir, **changes):
    config = smoke.get_config()
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return loop.train(config, workdir, {"command": "test"})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An uninterrupted run: its workdir and its last state. Copy the workdir to change it."""
    workdir = tmp_path_factory.mktemp("resume") / "finished"
    workdir.mkdir()
    return workdir, train(workdir)


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished[0], tmp_path / "copy"))


class Stopped(Exception):
    """Stands for whatever ends a run half way."""


def stop_at(monkeypatch, step):
    advance = progress.Progress.advance

    def stopping(self, steps=1):
        advance(self, steps)
        if self._bar.n == step:
            raise Stopped

    monkeypatch.setattr(progress.Progress, "advance", stopping)


def train_in_parts(workdir, monkeypatch, *, stops, **changes):
    """Stops after each of these steps, before anything of it is written, and starts again."""
    workdir.mkdir(exist_ok=True)
    for step in stops:
        with monkeypatch.context() as patched, pytest.raises(Stopped):
            stop_at(patched, step)
            train(workdir, **changes)
    return train(workdir, **changes)


def assert_same_state(actual, wanted):
    """Leaf by leaf and bit for bit."""
    actual, wanted = (jax.tree_util.tree_leaves_with_path(tree) for tree in (actual, wanted))
    assert [path for path, _ in actual] == [path for path, _ in wanted] and wanted
    for (path, a), (_, b) in zip(actual, wanted, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))


def hashes(workdir):
    return {str(path.relative_to(workdir)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(workdir.rglob("*")) if path.is_file()}  # fmt: skip


def metrics(workdir):
    """The lines of metrics.jsonl, but for the clock."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    clocks = {"seconds", "steps_per_second"}
    return [{name: line[name] for name in line.keys() - clocks} for line in lines]


def saved_steps(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def test_a_finished_run_left_everything(finished):
    workdir, state = finished
    assert int(state.step) == NUM_STEPS and saved_steps(workdir) == [3, NUM_STEPS]
    names = {path.name for path in workdir.iterdir()}
    assert {"config.json", "split.json", "run.json", "metrics.jsonl", "tensorboard"} <= names
    assert sorted(p.name for p in (workdir / "samples").iterdir()) == [
        "step_0000003.png", "step_0000006.png"]  # fmt: skip
    # Losses at every second step and before each evaluation, then the evaluation itself.
    assert [line["step"] for line in metrics(workdir)] == [2, 3, 3, 4, 6, 6]
    assert ["validation_map" in line for line in metrics(workdir)] == [0, 0, 1, 0, 0, 1]


def test_a_resumed_run_ends_in_the_same_state(finished, tmp_path, monkeypatch):
    # It stops before the first checkpoint and starts over; it stops after it and goes on from it.
    workdir, state = finished
    assert_same_state(train_in_parts(tmp_path, monkeypatch, stops=(3, 5)), state)
    assert metrics(tmp_path) == metrics(workdir)  # so no step stands twice


def test_a_run_resumed_in_stage_one_ends_in_the_same_state(finished, tmp_path, monkeypatch):
    # Where checkpoints lie changes nothing of what is learned; here one lies at every step.
    resumed = train_in_parts(tmp_path, monkeypatch, stops=(2,), eval_every_steps=1)
    assert_same_state(resumed, finished[1])
    scored = [line["step"] for line in metrics(tmp_path) if "validation_map" in line]
    assert scored == list(range(1, NUM_STEPS + 1))


def test_a_resumed_run_keeps_the_fitted_kernel_and_the_shares_of_classes(tmp_path, monkeypatch):
    alone = {
        "gan": False, "triplets": "none", "pretraining_steps": 0, "num_steps": 6,
        "consistency__batch_size": 8,
        "consistency__threshold": 0.1, "representation__name": "whitened",
        "representation__features": 0, "representation__dropout": 0.0,
    }  # fmt: skip
    whole = train(tmp_path / "whole", **alone)
    shares = whole.batch_stats["consistency"]["predicted"]
    assert len(set(shares.tolist())) == 10 and shares.sum() == pytest.approx(1)
    resumed = train_in_parts(tmp_path / "parts", monkeypatch, stops=(5,), **alone)
    assert_same_state(resumed, whole)
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    assert "validation_accuracy" in metrics(tmp_path / "whole")[-1]


def test_a_run_out_of_time_saves_its_step_and_goes_on_from_it(finished, tmp_path):
    # Without a score: step 1 is not one of those that are evaluated.
    with pytest.raises(interrupt.Stopped, match="stopped at step 1 of 6, which is saved"):
        train(tmp_path, max_minutes=1e-9)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.steps() == [1] and checkpoints.record(1).validation_map is None
    assert checkpoints.find("best") == 1
    assert_same_state(train(tmp_path), finished[1])
    assert checkpoints.find("best") in (3, NUM_STEPS)
    scored = [line for line in metrics(tmp_path) if "validation_map" in line]
    assert scored == [line for line in metrics(finished[0]) if "validation_map" in line]


def test_a_request_at_an_evaluated_step_saves_it_once(finished, tmp_path, monkeypatch):
    def ask(self, step, stacked):
        evaluate(self, step, stacked)
        os.kill(os.getpid(), signal.SIGTERM)

    evaluate = trainer.Trainer._evaluate
    with monkeypatch.context() as patched, pytest.raises(interrupt.Stopped, match="at step 3 of"):
        patched.setattr(trainer.Trainer, "_evaluate", ask)
        train(tmp_path)
    assert Checkpoints(tmp_path / "checkpoints").record(3).validation_map is not None
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert_same_state(train(tmp_path), finished[1])
    assert metrics(tmp_path) == metrics(finished[0])


def test_a_request_at_the_last_step_is_not_needed(finished, tmp_path, monkeypatch):
    def ask(self, step, stacked):
        evaluate(self, step, stacked)
        if step == NUM_STEPS:
            os.kill(os.getpid(), signal.SIGINT)

    evaluate = trainer.Trainer._evaluate
    monkeypatch.setattr(trainer.Trainer, "_evaluate", ask)
    assert_same_state(train(tmp_path), finished[1])


def test_a_finished_run_is_left_as_it_is(finished, copy):
    before = hashes(copy)
    assert_same_state(train(copy), finished[1])
    after = hashes(copy)
    assert {name: after.get(name) for name in before} == before
    assert all(name.startswith("tensorboard/") for name in after.keys() - before.keys())


@pytest.mark.parametrize(
    ("field", "value"),
    [("seed", 1), ("num_steps", 3), ("loss.triplet_options.margin", 2.0), ("data.split_seed", 3)],
)
def test_another_config_is_refused_and_changes_nothing(copy, field, value):
    before = hashes(copy)
    with pytest.raises(UserError) as error:
        train(copy, **{field.replace(".", "__"): value})
    assert field in str(error.value) and str(value) in str(error.value)
    assert hashes(copy) == before


def test_the_data_directory_may_change(finished, copy):
    assert_same_state(train(copy, data__data_dir="/elsewhere"), finished[1])


def test_a_checkpoint_cut_off_while_written_is_passed_over(finished, copy):
    checkpoints = copy / "checkpoints"
    unfinished = checkpoints / f"{NUM_STEPS}.orbax-checkpoint-tmp"
    (checkpoints / str(NUM_STEPS)).rename(unfinished)
    next(path for path in (unfinished / "state").rglob("*") if path.is_file()).write_bytes(b"")
    assert_same_state(train(copy), finished[1])
    assert saved_steps(copy) == [3, NUM_STEPS]
    assert metrics(copy) == metrics(finished[0])


def checkpoint_files(workdir, step):
    root = workdir / "checkpoints" / str(step)
    return sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())


def damage(path, how):
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "half":
        path.write_bytes(content[: len(content) // 2])
    else:
        place = int(len(content) * how)
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])


@pytest.mark.parametrize("how", ["half", "gone", 0.1, 0.5, 0.9])
def test_a_damaged_checkpoint_is_refused_or_read_whole(finished, tmp_path, how):
    # Whichever file is cut in half, gone, or has one bit flipped.
    workdir, state = finished
    refused, crashed = [], []
    for name in checkpoint_files(workdir, NUM_STEPS):
        copied = Path(shutil.copytree(workdir / "checkpoints", tmp_path / "checkpoints"))
        path = copied / str(NUM_STEPS) / name
        if path.stat().st_size:
            damage(path, how)
        try:
            checkpoints = Checkpoints(copied)
            restored, seconds = checkpoints.restore(checkpoints.latest(), state)
            assert seconds == Checkpoints(workdir / "checkpoints").record(NUM_STEPS).seconds
            assert_same_state(restored, state)
            assert checkpoints.best() == Checkpoints(workdir / "checkpoints").best()
        except DamagedCheckpoint as error:
            refused.append(str(name))
            assert str(copied) in str(error)
        except Exception as error:
            crashed.append((str(name), type(error).__name__, str(error)))
        finally:
            shutil.rmtree(copied)
    assert not crashed
    assert any(name.startswith("state/") for name in refused)
    assert any(name.startswith("record/") for name in refused)


def flip_a_bit_of_the_state(workdir, step):
    root = workdir / "checkpoints" / str(step) / "state"
    files = [path for path in root.rglob("*") if path.is_file()]
    damage(max(files, key=lambda path: path.stat().st_size), 0.5)


def test_a_damaged_checkpoint_is_passed_over_and_kept(finished, copy, capfd):
    flip_a_bit_of_the_state(copy, NUM_STEPS)
    (copy / "run.json").write_text('{"command": "te')
    assert_same_state(train(copy), finished[1])
    assert saved_steps(copy) == [3, NUM_STEPS] and metrics(copy) == metrics(finished[0])
    line = next(x for x in capfd.readouterr().err.splitlines() if x.startswith("damaged"))
    assert f"checkpoint {NUM_STEPS} " in line and str(copy / "damaged_checkpoints/6") in line
    assert (copy / "damaged_checkpoints/6/state").is_dir()
    assert json.loads((copy / "run.json").read_text())["command"] == "test"
    again = Checkpoints(copy / "checkpoints")
    assert_same_state(again.restore(NUM_STEPS, finished[1])[0], finished[1])


def test_where_all_checkpoints_are_damaged_nothing_is_written(copy):
    flip_a_bit_of_the_state(copy, NUM_STEPS)
    shutil.rmtree(copy / "checkpoints/3/record")  # as version 0.1 left it
    before = hashes(copy)
    with pytest.raises(UserError, match="no checkpoint in .* is whole.*restore"):
        train(copy)
    assert hashes(copy) == before


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path, monkeypatch):
    compile_step = calls.compile_step

    def breaking(step, seed, devices):
        inner = compile_step(step, seed, devices)

        def run(state, batch):
            count = int(unreplicate(state.step)) + 1
            state, metrics = inner(state, batch)
            if count >= 5:
                metrics["hash/triplet"] = metrics["hash/triplet"] * jnp.nan
            return state, metrics

        return run

    monkeypatch.setattr(calls, "compile_step", breaking)
    with pytest.raises(UserError, match=r"loss.triplet .* became NaN at step 5; lower a learning"):
        train(tmp_path)
    assert saved_steps(tmp_path) == [3]
    assert [line["step"] for line in metrics(tmp_path)][-1] == 4


def test_metrics_of_later_steps_and_a_line_cut_off_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step, "loss": 0.5}) + "\n" for step in (1, 2, 2, 3, 4)]
    path.write_text("".join(lines) + '{"step": 2, "lo')
    progress.drop_after(path, 2)
    assert path.read_text() == "".join(lines[:3])
    progress.drop_after(tmp_path / "absent.jsonl", 2)
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]
