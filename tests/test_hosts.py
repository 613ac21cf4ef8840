"""Two processes against one: the same training, resumed either way, and the same evaluation.

Both processes run this file, and leave what they found for the tests.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from configs import features, smoke
from dsh_jax import hamming, hosts, joining, measuring
from dsh_jax.checkpoints import Checkpoints
from dsh_jax.data.batches import make_batch
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.share import Share
from dsh_jax.training import agreement, loop
from dsh_jax.training.experiment import prepare
from tests.commands import ROOT, only_sentence, start_forked

HALF, STEPS = 10, 20
SLOW = """
from configs import cnnh_plus_digits_16bit, smoke
def get_config():
    config = smoke.shrink(cnnh_plus_digits_16bit.get_config())
    config.codes.sweeps = 1
    config.update(num_steps=1_000_000, log_every_steps=1, eval_every_steps=1_000_000)
    config.representation.width = 2
    return config
"""
TREE = {
    "params": np.array([-0.0, 0.0, np.nan, np.inf, 1e-45], np.float32),
    "none": np.zeros((0, 3), np.float32),
    "step": np.int32(7),
    "mask": np.array([[True, False]]),
}


def small():
    """DSH-GANs with the whole game, without what each device draws by itself."""
    config = smoke.get_config()
    config.representation.update(name="conv3", width=4, features=8, dropout=0.0)
    config.generator.width = 4
    config.update(num_bits=12, pretraining_steps=0, num_steps=STEPS, ema_decay=0.9)
    config.update(log_every_steps=1, eval_every_steps=HALF, encode_batch_size=100)
    return config


def train(workdir, **changes):
    config = small()
    config.update(changes)
    return loop.train(config, workdir, {"command": "test"})


def half_of(workdir, to):
    """A copy of a workdir whose training has only come to its first checkpoint."""
    shutil.copytree(workdir, to)
    shutil.rmtree(to / "checkpoints" / str(STEPS))
    return to


def main(folder, address, index):
    """What each of the two processes does."""
    folder, index = Path(folder), int(index)
    said = []

    def refused(call):
        try:
            call()
        except UserError as error:
            said.append(str(error))

    with joining.joined(joining.Place(address, 2, index)):
        train(folder / "two")
        train(folder / "one_then_two")
        evaluate_workdir(folder / "one")
        refused(lambda: evaluate_workdir(folder / "one", baseline="itq"))
        refused(lambda: hosts.agree({"same": "x", "split": f"s{index}"}, "repair it"))
        refused(lambda: train(folder / f"own_{index}"))
        refused(lambda: train(folder / "two", num_steps=STEPS + index))
        refused(lambda: train(folder / "odd", batch_size=9))
        tree = jax.tree.map(lambda leaf: leaf if index == 0 else np.zeros_like(leaf), TREE)
        shared = hosts.from_first(tree)
        rows = [
            hosts.shared_out(lambda ids: np.stack([ids, ids**2], 1), np.arange(n), unit=2)
            for n in (1, 2, 5, 8)
        ]
    jax.tree.map(lambda got, leaf: np.testing.assert_array_equal(got, leaf), shared, TREE)
    assert np.signbit(shared["params"][0])
    for n, got in zip((1, 2, 5, 8), rows, strict=True):
        np.testing.assert_array_equal(got, [[i, i * i] for i in range(n)])
    (folder / f"said_{index}.json").write_text(json.dumps(said))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """`one` and `two` were trained by as many processes, `one_then_two` by both in turn."""
    folder = tmp_path_factory.mktemp("hosts")
    train(folder / "one")
    half_of(folder / "one", folder / "one_then_two")
    evaluate_workdir(folder / "one")
    for name in ("eval.json", "codes.npz"):
        (folder / "one" / name).rename(folder / f"alone_{name}")
    command = [sys.executable, __file__, str(folder), joining.free_address()]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    both = [
        subprocess.Popen([*command, str(i)], env=environment, stderr=subprocess.PIPE, text=True)
        for i in range(2)
    ]
    for process in both:
        _, stderr = process.communicate(timeout=900)
        assert process.returncode == 0, stderr
    return folder


def metrics(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    clocks = ("seconds", "steps_per_second")
    return [{name: x for name, x in row.items() if name not in clocks} for row in rows]


def assert_same_training(folder, one, other, first=0):
    wanted, found = ([row for row in metrics(folder / name) if row["step"] > first]
                     for name in (one, other))  # fmt: skip
    assert [sorted(row) for row in found] == [sorted(row) for row in wanted] and wanted
    for row, like in zip(found, wanted, strict=True):
        for name, value in like.items():
            assert row[name] == pytest.approx(value, rel=1e-5, abs=1e-5), (row["step"], name)


def test_two_processes_train_as_one(runs):
    assert_same_training(runs, "one", "two")
    rows = metrics(runs / "two")
    assert rows[-1]["step"] == STEPS and "validation_map" in rows[-1]
    assert {"hash/loss", "generator/loss", "discriminator/loss"} <= rows[-2].keys()


def test_one_process_writes(runs):
    one, two = ({p.name for p in (runs / name).iterdir()} for name in ("one", "two"))
    assert two == one - {"eval.json", "codes.npz"}  # evaluated in another test
    assert Checkpoints(runs / "two/checkpoints").steps() == [HALF, STEPS]
    run = json.loads((runs / "two/run.json").read_text())
    assert run["devices"] == [{"from_step": 0, "num_devices": 2}]


def test_a_checkpoint_of_one_process_goes_on_in_two(runs):
    assert_same_training(runs, "one", "one_then_two", first=HALF)


def test_a_checkpoint_of_two_processes_goes_on_in_one(runs, tmp_path):
    train(half_of(runs / "two", tmp_path / "two_then_one"))
    shutil.copytree(runs / "two", tmp_path / "two")
    assert_same_training(tmp_path, "two", "two_then_one", first=HALF)


def test_two_processes_evaluate_as_one(runs):
    alone = json.loads((runs / "alone_eval.json").read_text())
    assert json.loads((runs / "one/eval.json").read_text()) == alone
    with np.load(runs / "alone_codes.npz") as wanted, \
         np.load(runs / "one/codes.npz") as found:  # fmt: skip
        assert found.files == wanted.files
        for array in wanted.files:
            np.testing.assert_array_equal(found[array], wanted[array], err_msg=array)


def test_both_processes_refuse_in_the_same_words(runs):
    first, second = (json.loads((runs / f"said_{i}.json").read_text()) for i in range(2))
    baseline, differing, folder, more_steps, odd = first
    assert "itq is for one process" in baseline
    assert differing == "process 1 has another split (s1 there, s0 on process 0): repair it."
    assert "own_0" in folder and "name a --workdir" in folder
    assert "another num_steps (21 there, 20 on process 0)" in more_steps
    assert odd.startswith("batch_size 9 is not divisible by 2 devices")
    assert [first[0], first[1], *first[3:]] == [second[0], second[1], *second[3:]]
    assert not (runs / "odd").exists()


# What only real commands show: how they end.


@pytest.fixture
def pair(tmp_path):
    """Starts two processes of train.py; ends what is left of them."""
    config, started = tmp_path / "slow.py", []
    config.write_text(SLOW)

    def start(*arguments, differing=()):
        address = joining.free_address()
        outputs = [tmp_path / f"output_{len(started)}_{index}" for index in range(2)]
        both = [
            start_forked(
                output, "train.py", f"--config={config}", "--config.distributed=True",
                f"--coordinator={address}", "--num_processes=2", f"--process_id={index}",
                *arguments, *(differing if index else ()),
            )
            for index, output in enumerate(outputs)
        ]  # fmt: skip
        started.extend(both)
        return both, [output.with_suffix(".err") for output in outputs]

    yield start
    for process in started:
        process.kill()


def ends(process, seconds):
    process.join(seconds)
    assert not process.is_alive()
    return process.exitcode


def wait_for(path, text, seconds=120):
    end = time.monotonic() + seconds
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < end, path
        time.sleep(0.1)


def stopped_at(error):
    (step,) = re.findall(r"stopped at step ([\d,]+) of", error)
    return int(step.replace(",", ""))


def test_a_request_to_one_stops_both_at_one_step_and_a_death_ends_both(pair, tmp_path):
    workdir = tmp_path / "run"
    both, errors = pair(f"--workdir={workdir}")
    wait_for(workdir / "metrics.jsonl", '"step": 3,')
    os.kill(both[1].pid, signal.SIGTERM)
    assert [ends(process, 30) for process in both] == [0, 0]
    outputs = [output.read_text() for output in errors]
    (step,) = {stopped_at(output) for output in outputs}
    assert Checkpoints(workdir / "checkpoints").steps() == [step]

    both, errors = pair(f"--workdir={workdir}")  # goes on
    wait_for(workdir / "metrics.jsonl", f'"step": {step + 3},')
    os.kill(both[0].pid, signal.SIGKILL)
    assert ends(both[1], 30) == 2
    assert "another process of this run has ended" in errors[1].read_text()
    assert Checkpoints(workdir / "checkpoints").steps() == [step]


def test_unequal_splits_are_refused(pair, tmp_path):
    both, errors = pair(f"--workdir={tmp_path / 'run'}", differing=["--config.data.split_seed=1"])
    codes = [ends(process, 120) for process in both]
    for code, error in zip(codes, errors, strict=True):
        sentence = only_sentence(code, error.read_text())
        assert "process 1 has another data.split_seed (1 there, 0 on process 0)" in sentence
        assert "another split (" in sentence and "give all of them the same" in sentence
    assert not (tmp_path / "run").exists()


# Without other processes.


def facts_of(monkeypatch, experiment, workdir):
    found = {}
    monkeypatch.setattr(hosts, "count", lambda: 2)
    monkeypatch.setattr(hosts, "agree", lambda facts, fix: found.update(facts))
    agreement.check_same(experiment, workdir, 0)
    return found


def test_unequal_data_has_other_facts(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    folders = []
    for place in ("a", "b"):
        folders.append(tmp_path / place)
        folders[-1].mkdir()
        np.save(folders[-1] / "vectors.npy", rng.normal(size=(60, 8)).astype(np.float32))
        np.save(folders[-1] / "labels.npy", np.arange(60) % 4 - 1)
    found = []
    for folder in folders:
        config = features.get_config()
        config.data.root = str(folder)
        with monkeypatch.context() as patched:
            found.append(facts_of(patched, prepare(config, None), tmp_path))
    differing = {name for name in found[0] if found[0][name] != found[1][name]}
    assert "data set" in differing and not any(name.startswith("data.") for name in differing)


@pytest.mark.parametrize("several", [False, True])
def test_counts_shared_out_are_those_of_all_queries(monkeypatch, several):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 230)
    if several:  # no query of the first part has as many labels as one of the second
        labels = np.eye(3, dtype=np.uint8)[labels]
        labels[100] = 1
    bits = rng.integers(0, 2, (230, 12))
    split = SimpleNamespace(query=np.arange(130), database=np.arange(130, 230))
    codes = SimpleNamespace(query=hamming.pack(bits[:130]), database=hamming.pack(bits[130:]))
    arguments = smoke.get_config(), SimpleNamespace(labels=labels), split, codes, 12
    whole = measuring.counts_of(*arguments)

    def in_two(rows_of, ids, unit):
        return np.concatenate([rows_of(ids[:unit]), rows_of(ids[unit:])])

    monkeypatch.setattr(hosts, "shared_out", in_two)
    np.testing.assert_array_equal(measuring.counts_of(*arguments), whole)


def test_shares_make_up_the_batch():
    config = smoke.get_config()
    config.update(gan=False, triplets="real")
    experiment = prepare(config, None)
    spec = experiment.method.stages[-1].batch
    whole, *parts = (make_batch(experiment.dataset, experiment.split, spec, 3, share=share)
                     for share in (Share(), Share(0, 2), Share(1, 2)))  # fmt: skip
    assert whole.keys() == parts[0].keys() and "negative_image" in whole
    for name, array in whole.items():
        joined = np.concatenate([part[name] for part in parts])
        np.testing.assert_array_equal(joined, array, err_msg=name)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--coordinator=a:1"], "--num_processes and --process_id must be given"),
        (["--coordinator=a", "--num_processes=2", "--process_id=0"], "write it as HOST:PORT"),
        (["--coordinator=a:1", "--num_processes=2", "--process_id=2"], "from 0 to 1"),
        (["--config.distributed=False", "--process_id=0"], "add --config.distributed=True"),
        ([], "no cluster was found"),
    ],
)
def test_flags_that_do_not_fit(tmp_path, flags, words):
    output = tmp_path / "output"
    process = start_forked(output, "train.py", f"--config={ROOT}/configs/smoke.py",
                           f"--workdir={tmp_path / 'run'}", "--config.distributed=True",
                           *flags)  # fmt: skip
    code = ends(process, 60)
    assert words in only_sentence(code, output.with_suffix(".err").read_text())
    assert not (tmp_path / "run").exists()


def test_a_coordinator_that_does_not_answer():
    began = time.monotonic()
    with pytest.raises(UserError, match="did not answer within 1 seconds: start process 0"), \
         joining.joined(joining.Place(joining.free_address(), 2, 1), seconds=1):  # fmt: skip
        pass
    assert time.monotonic() - began < 10


def test_closed_form_and_profile_are_for_one_process(monkeypatch):
    experiment = prepare(smoke.get_config(), None)
    agreement.check_supported(experiment)
    monkeypatch.setattr(hosts, "count", lambda: 2)
    agreement.check_supported(experiment)
    experiment.config.profile = True
    with pytest.raises(UserError, match="profile is for one process"):
        agreement.check_supported(experiment)


if __name__ == "__main__":
    main(*sys.argv[1:])
