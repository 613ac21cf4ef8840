"""An encoder file measured on a config's split: as its workdir is, or refused in one sentence."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import digits_16bit, image_folder, shttm_reuters_32bit, smoke
from dsh_jax import encoder_files, load_encoder
from dsh_jax.data.images import built_in
from dsh_jax.data.signature import ImageInputs, Signature
from dsh_jax.data.splits.split import load as load_split
from dsh_jax.devices import pick_devices
from dsh_jax.encoder import Encoder
from dsh_jax.encoder_evaluation import evaluate_encoder
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.origin import Origin, from_dict
from dsh_jax.training import experiment
from dsh_jax.training.loop import train
from tests import corpus
from tests.commands import SMOKE, only_sentence, run, run_forked

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples/digits_16bit.safetensors"
SHAPE = (8, 8, 1)
# What only a workdir knows, and what only an encoder file says.
OF_WORKDIR, OF_FILE = {"checkpoint", "step", "train_seconds"}, {"encoder", "trained_on_this_split"}


def saved(path, names=tuple("0123456789"), shape=SHAPE, split=None, **network):
    """An encoder file that nobody has trained, of an origin if `split` is given."""
    config = smoke.get_config()
    config.update(network)
    signature = Signature(ImageInputs(*shape), "single", names)
    description = encoder_files.describe(config, signature, "synthetic", split)
    variables = jax.jit(description.build().init)(jax.random.key(0))
    Encoder(description, jax.tree.map(np.asarray, variables), pick_devices(1, {})).save(path)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(workdir, encoder file, config), with a seed and a split seed that are not 0."""
    folder = tmp_path_factory.mktemp("trained")
    config = smoke.get_config()
    config.seed, config.data.split_seed = 3, 4
    train(config, folder / "run", {})
    load_encoder(folder / "run").save(folder / "encoder.safetensors")
    return folder / "run", folder / "encoder.safetensors", config


@pytest.mark.parametrize("baseline", ["", "classifier"])
def test_the_result_is_that_of_the_workdir(trained, tmp_path, baseline):
    workdir, path, config = trained
    expected = evaluate_workdir(workdir, baseline=baseline)
    result = evaluate_encoder(path, config, baseline=baseline, folder=tmp_path / "out", report=True)
    assert set(expected) - set(result) == OF_WORKDIR and set(result) - set(expected) == OF_FILE
    assert result["trained_on_this_split"] is True and result["run"] == {}
    assert result["encoder"] == load_encoder(path).fingerprint and result["seed"] == 3
    for name in expected.keys() - OF_WORKDIR - {"run"}:
        assert result[name] == expected[name], name

    suffix = f"_{baseline}" if baseline else ""
    assert json.loads((tmp_path / f"out/eval{suffix}.json").read_text()) == result
    assert (tmp_path / f"out/report{suffix}/report.html").is_file()
    codes, again = (np.load(f / f"codes{suffix}.npz") for f in (workdir, tmp_path / "out"))
    assert codes.keys() == again.keys()
    for name in codes:
        np.testing.assert_array_equal(codes[name], again[name])


def test_what_a_file_says_of_its_origin(trained):
    workdir, path, _ = trained
    split = load_split(workdir / "split.json")
    origin = load_encoder(path).origin
    assert origin == Origin("digits", "1", "100/200/1697", split.checksum, split_seed=4, seed=3)
    assert load_encoder(workdir).origin == origin
    assert load_encoder(workdir).fingerprint == load_encoder(path).fingerprint
    assert from_dict(origin.to_dict()) == origin
    for wrong in ({}, [], None, origin.to_dict() | {"seed": "3"}, origin.to_dict() | {"more": 1},
                  origin.to_dict() | {"split_seed": True}):  # fmt: skip
        with pytest.raises((ValueError, TypeError)):
            from_dict(wrong)


def test_the_origin_is_part_of_what_the_fingerprint_guards(trained, tmp_path):
    description, variables = encoder_files.load(trained[1])
    content = description.to_dict()
    assert content["format"] == 2 and encoder_files.from_dict(content) == description
    content["origin"]["split_seed"] = 5
    changed = encoder_files.from_dict(content)
    before = encoder_files.fingerprint(description, variables)
    assert encoder_files.fingerprint(changed, variables) != before


def test_another_split_than_that_of_the_training(trained, tmp_path):
    _, path, config = trained
    other = config.copy_and_resolve_references()
    other.data.split_seed = 5
    with pytest.raises(UserError, match="data.split_seed=4 .*with 5 .*it has seen") as caught:
        evaluate_encoder(path, other, folder=tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()
    other.data.split_file = str(trained[0] / "split.json")
    assert evaluate_encoder(path, other)["trained_on_this_split"] is True


def test_a_file_of_version_0_2_does_not_say():
    encoder = load_encoder(EXAMPLE)
    measures = json.loads((ROOT / "examples/digits_16bit.json").read_text())
    result = evaluate_encoder(EXAMPLE, digits_16bit.get_config())
    if encoder.origin is None:
        assert result["trained_on_this_split"] is None and result["seed"] is None
        assert any("does not say which split" in warning for warning in result["warnings"])
    assert result["map"] == pytest.approx(measures["map"], abs=1e-3)
    assert result["split_checksum"] == measures["split_checksum"]


def no_reading(monkeypatch):
    def read(*_):
        raise AssertionError("the data was read")

    monkeypatch.setattr(experiment.loading, "load_dataset", read)


def test_what_is_refused_before_the_data_is_read(trained, tmp_path, monkeypatch):
    workdir, path, config = trained
    no_reading(monkeypatch)
    documents = shttm_reuters_32bit.get_config()
    folder = image_folder.get_config()
    cifar = config.copy_and_resolve_references()
    cifar.data.source = "cifar10"
    bad = config.copy_and_resolve_references()
    bad.data.split_seed = -1
    for arguments, parts in (
        ((path, documents), ("encodes images", "gives documents")),
        ((path, folder), ("8x8x1", "64x64x3")),
        ((path, cifar), ("8x8x1", "'cifar10' gives 32x32x3")),
        ((path, bad), ("data.split_seed",)),
        ((workdir, config), ("is a folder", "--workdir")),
        ((tmp_path / "none", config), ("there is no", "none")),
    ):
        with pytest.raises(UserError) as caught:
            evaluate_encoder(*arguments)
        assert all(part in str(caught.value) for part in parts), caught.value
    with pytest.raises(UserError, match="--baseline itq takes no encoder"):
        evaluate_encoder(path, config, baseline="itq")
    with pytest.raises(UserError, match="is a workdir with results of its own"):
        evaluate_encoder(path, config, folder=workdir)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"names": tuple("01234")}, "knows 5 classes (0, 1, 2, 3, 4), but digits has 10 classes"),
        ({"names": tuple("012345678X")}, "8, X), but digits has 10 classes (0, 1"),
    ],
)
def test_other_classes(tmp_path, changes, part):
    path = saved(tmp_path / "encoder.safetensors", **changes)
    with pytest.raises(UserError) as caught:
        evaluate_encoder(path, smoke.get_config())
    assert part in str(caught.value)


def test_unseen_classes(tmp_path):
    config = smoke.get_config()
    config.data.unseen_classes = 3
    train(config, tmp_path / "run", {})
    path = tmp_path / "encoder.safetensors"
    load_encoder(tmp_path / "run").save(path)
    result = evaluate_encoder(path, config)
    assert result["protocol"].startswith("unseen 3 of 10") and result["trained_on_this_split"]
    assert result["map"] == evaluate_workdir(tmp_path / "run")["map"]
    config.data.unseen_classes = 0
    with pytest.raises(UserError, match="knows 7 classes .* but digits has 10 classes"):
        evaluate_encoder(path, config)
    config.data.unseen_classes = 3
    with pytest.raises(UserError, match="knows 10 classes .* digits in training has 7 classes"):
        evaluate_encoder(saved(tmp_path / "all"), config)


def test_documents(tmp_path):
    config = corpus.config(corpus.write(tmp_path / "corpus.jsonl"))
    train(config, tmp_path / "run", {})
    load_encoder(tmp_path / "run").save(tmp_path / "encoder")
    expected = evaluate_workdir(tmp_path / "run")
    config.data.min_documents = 9  # the vocabulary is the encoder's all the same
    result = evaluate_encoder(tmp_path / "encoder", config)
    for name in ("map", "queries_without_words", "split_checksum", "code_health"):
        assert result[name] == expected[name]
    moved = shutil.move(tmp_path / "corpus.jsonl", tmp_path / "moved.jsonl")
    again = evaluate_encoder(tmp_path / "encoder", config, data_dir=str(moved))
    assert again == result and config.data.data_dir != str(moved)
    with pytest.raises(UserError, match="encodes documents, but data.source 'digits' gives images"):
        evaluate_encoder(tmp_path / "encoder", smoke.get_config())


DEVICES_SCRIPT = """
import sys
import jax, numpy as np
from dsh_jax import load_encoder
from dsh_jax.data.images import built_in

digits, ids = built_in.load("digits"), np.arange(8)
one, two = (
    load_encoder(sys.argv[1], num_devices=n).encode_dataset(digits, ids, finish=np.asarray)
    for n in (1, 2)
)
assert len(jax.local_devices()) == 2
np.testing.assert_allclose(one, two, atol=1e-5)
"""


def test_a_batch_size_that_the_devices_cannot_share(tmp_path):
    path = saved(tmp_path / "encoder", encode_batch_size=3)  # trained where there was one device
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", DEVICES_SCRIPT, path], capture_output=True, text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["digits", "multi_digits"])
def test_shapes_are_known_before_reading(name):
    assert built_in.load(name).inputs.shape == built_in.SHAPES[name]


def test_the_command(trained, tmp_path):
    workdir, path, config = trained
    overrides = ["--config.seed=9", "--config.data.split_seed=4"]
    result, output = tmp_path / "result.json", tmp_path / "out"
    stdout, stderr = run(
        "eval.py", f"--encoder={path}", SMOKE, *overrides, f"--result={result}",
        f"--output={output}",
    )  # fmt: skip
    found = json.loads(result.read_text())
    assert found == json.loads((output / "eval.json").read_text())
    assert found["run"] == {}  # of the training, which the file does not tell
    measured_by = found["measured_by"]
    assert measured_by["overrides"] == overrides and f"--encoder={path}" in measured_by["command"]
    expected = evaluate_workdir(workdir)
    assert found["map"] == pytest.approx(expected["map"], abs=1e-3)
    assert f"{found['map']:.4f}" in stdout and "trained_on_this_split      yes" in stdout
    assert "does not say" not in stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--encoder={path}"], "--config is missing"),
        (["--encoder={path}", SMOKE, "--workdir=a"], "--workdir and --encoder exclude each other"),
        ([SMOKE, "--workdir=a"], "--config is for --encoder"),
        (["--encoder={path}", SMOKE, "--checkpoint=latest"], "--checkpoint is for a workdir"),
        (["--encoder={path}", SMOKE, "--report"], "add --output DIR"),
        (["--encoder={path}", SMOKE], "was trained on another split"),
        (["--encoder={path}", SMOKE, "--config.data.sorce=digits"], "did you mean data.source?"),
        (["--encoder={path}.no", SMOKE], "there is no workdir and no encoder file"),
        ([], "--workdir is missing"),
    ],
)
def test_the_command_refuses(trained, tmp_path, arguments, named):
    arguments = [argument.format(path=trained[1]) for argument in arguments]
    done = run_forked(tmp_path, "eval.py", *arguments)
    assert named in only_sentence(*done)
