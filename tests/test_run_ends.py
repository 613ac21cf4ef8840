"""How a training ends that cannot go on: one sentence, exit code 2, and a workdir to resume in."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import cnnh_plus_digits_16bit, smoke
from dsh_jax.checkpoints import Checkpoints
from dsh_jax.encoder import load_encoder
from dsh_jax.errors import UserError
from dsh_jax.training import lock, loop, trainer
from tests.commands import ROOT, only_sentence, refused, run_forked
from tests.messages import one_sentence

CONFIG = """
from configs import cnnh_plus_digits_16bit, smoke
def get_config():
    config = smoke.shrink(cnnh_plus_digits_16bit.get_config())
    config.codes.sweeps = 1
    config.eval_every_steps = 1
    return config
"""
# What a command is run in, before it: a limit of file size stands for a full disk.
LIMITED = """
import resource, runpy, signal, sys
sys.path.insert(0, ".")
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
del sys.argv[:2]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def small():
    config = smoke.shrink(cnnh_plus_digits_16bit.get_config())
    config.codes.sweeps = 1
    config.eval_every_steps = 1
    return config


def train(workdir, **changes):
    config = small()
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return loop.train(config, workdir, {"command": "test"})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A workdir trained once; no test changes it."""
    workdir = tmp_path_factory.mktemp("ends") / "run"
    train(workdir)
    return workdir


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "small.py"
    path.write_text(CONFIG)
    return f"--config={path}"


def each_evaluation(monkeypatch, action):
    """Calls `action(trainer, step, state)` before each evaluation, to act or to change it."""
    evaluate = trainer.Trainer._evaluate

    def acting(self, step, stacked):
        return evaluate(self, step, action(self, step, stacked) or stacked)

    monkeypatch.setattr(trainer.Trainer, "_evaluate", acting)


def test_a_second_training_changes_nothing(finished, tmp_path, config_file):
    with (finished / lock.NAME).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        sentence = refused(tmp_path, finished, "train.py", config_file)
        assert "another training is running" in sentence and str(finished) in sentence
    train(finished)  # the one that held it has ended


def test_the_lock_is_held_while_training(tmp_path, monkeypatch):
    def second(*_):
        with pytest.raises(UserError, match="another training"):
            loop.train(small(), tmp_path, {})

    each_evaluation(monkeypatch, second)
    train(tmp_path, num_steps=1)
    assert Checkpoints(tmp_path / "checkpoints").steps() == [1]


def test_a_workdir_that_is_deleted(tmp_path, monkeypatch):
    workdir = tmp_path / "run"

    def delete(trainer, step, _):
        if step == 2:
            trainer._checkpoints.wait()
            shutil.rmtree(workdir)

    each_evaluation(monkeypatch, delete)
    one_sentence(lambda: train(workdir), workdir, "deleted")
    assert not workdir.exists()


def test_a_workdir_that_is_deleted_at_the_end(tmp_path, monkeypatch):
    close = loop.CheckpointWriter.close

    def delete(self):
        close(self)
        shutil.rmtree(tmp_path / "run")

    monkeypatch.setattr(loop.CheckpointWriter, "close", delete)
    one_sentence(lambda: train(tmp_path / "run", num_steps=1), tmp_path / "run", "deleted")


def test_a_parameter_that_is_not_finite_is_not_saved(tmp_path, monkeypatch):
    def spoil(_, step, stacked):
        if step < 2:
            return None
        params = jax.tree.map(lambda leaf: leaf, stacked.params)
        player = sorted(params)[0]
        leaves, shape = jax.tree.flatten(params[player])
        leaves[0] = leaves[0] * jnp.inf * 0
        return stacked.replace(params=params | {player: jax.tree.unflatten(shape, leaves)})

    each_evaluation(monkeypatch, spoil)
    one_sentence(lambda: train(tmp_path), "params/", "step 2", "learning rate")
    assert Checkpoints(tmp_path / "checkpoints").steps() == [1]


def test_a_workdir_without_a_checkpoint_is_open_to_another_config(tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    def stop(*_):
        raise Stopped

    with monkeypatch.context() as patched, pytest.raises(Stopped):
        each_evaluation(patched, stop)
        train(tmp_path, num_bits=24, data__split_seed=5)
    (tmp_path / "samples").mkdir(exist_ok=True)
    (tmp_path / "samples/step_0000900.png").write_bytes(b"")
    state = train(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["num_bits"] == 16
    fresh = train(tmp_path / "fresh")
    jax.tree.map(np.testing.assert_array_equal, state, fresh)
    assert not (tmp_path / "samples/step_0000900.png").exists()
    with pytest.raises(UserError, match=r"num_bits \(16 there, 24 now\)"):
        train(tmp_path, num_bits=24)


def test_a_mistake_found_while_learning_targets_writes_nothing(tmp_path, monkeypatch):
    def too_large(*_, **__):
        raise ValueError("codes.form 'full' needs 300 GB: set it to 'classes'")

    monkeypatch.setattr("dsh_jax.methods.cnnh.learn_targets", too_large)
    with pytest.raises(UserError, match="300 GB"):
        train(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("limit", [5_000, 20_000])
def test_a_full_disk(tmp_path, config_file, limit):
    # 5,000 bytes hold no split, 20,000 few checkpoints, if any, which Orbax writes in threads.
    (tmp_path / "limited.py").write_text(LIMITED)
    arguments = (limit, "train.py", config_file, f"--workdir={tmp_path / 'run'}")
    sentence = only_sentence(*run_forked(tmp_path, tmp_path / "limited.py", *arguments))
    assert "File too large" in sentence and str(tmp_path / "run") in sentence
    if Checkpoints(tmp_path / "run/checkpoints").steps():  # then they are whole
        load_encoder(tmp_path / "run", checkpoint="latest").encode(np.zeros((1, 8, 8, 1), np.uint8))


def test_output_that_nobody_reads(finished, tmp_path, config_file):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "train.py", config_file, f"--workdir={finished}"], cwd=ROOT, stdout=write,
        stderr=subprocess.PIPE, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    os.close(write)
    assert "output was closed" in only_sentence(done.returncode, done.stderr)


@pytest.mark.parametrize("script", ["train.py", "eval.py"])
@pytest.mark.parametrize("module", ["absl", "numpy"])
def test_an_interrupt_while_modules_are_imported(tmp_path, script, module):
    arguments = [f"--workdir={tmp_path / 'run'}"]
    if script == "train.py":
        arguments.append("--config=configs/smoke.py")
    process = subprocess.Popen([sys.executable, "-X", "importtime", script, *arguments], cwd=ROOT,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    for line in process.stderr:  # each names a module that has been imported
        if line.split()[-1] == module:
            break
    process.send_signal(signal.SIGINT)
    rest = [line for line in process.stderr.read().splitlines() if "import time:" not in line]
    assert process.wait() == 130 and rest == ["stopped; run the same command again to resume."]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_steps_are_taken_saves_and_ends(tmp_path, config_file, number):
    workdir = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "train.py", config_file, f"--workdir={workdir}",
         "--config.num_steps=99999", "--config.eval_every_steps=99999",
         "--config.log_every_steps=1"],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    log = workdir / "metrics.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") > 3):
        time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=120)
    (step,) = Checkpoints(workdir / "checkpoints").steps()
    assert process.returncode == 0 and stderr.splitlines()[-1] == (
        f"stopped at step {step:,} of 99,999, which is saved; run the same command again to resume."
    )
    assert step > 3 and json.loads(log.read_text().splitlines()[-1])["step"] == step
