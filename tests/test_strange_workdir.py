"""Evaluation of a workdir from elsewhere, or beside a training: nothing else is read or written."""

import contextlib
import json
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import smoke
from dsh_jax import encoder_files
from dsh_jax.checkpoints import Checkpoints
from dsh_jax.codes_of_items import Codes
from dsh_jax.data import targets
from dsh_jax.data.splits.split import save as save_split
from dsh_jax.data.targets import Targets
from dsh_jax.encoder import load_encoder
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.evaluation_config import load_config_of
from dsh_jax.files import write_json
from dsh_jax.training.experiment import prepare
from dsh_jax.training.saving import CheckpointWriter
from dsh_jax.training.workdir import as_dict
from tests.commands import tree
from tests.messages import one_sentence


def save(folder, state, scores):
    writer = CheckpointWriter(folder / "checkpoints", keep=2)
    for step, score in scores.items():
        writer.save(step, state, seconds=1.0, validation_map=score)
    writer.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(workdir, state): an untrained state, saved at steps 2 (the best) and 5."""
    workdir = tmp_path_factory.mktemp("strange") / "run"
    config = smoke.get_config()
    experiment = prepare(config, None)
    state = jax.jit(experiment.method.init)(jax.random.key(0))
    save(workdir, state, {2: 0.9, 5: 0.1})
    write_json(workdir / "config.json", as_dict(config))
    write_json(workdir / "run.json", {"command": "test"})
    save_split(experiment.split, workdir / "split.json")
    (workdir / "samples").mkdir()
    description = encoder_files.describe(config, experiment.signature, experiment.method.codes)
    encoder_files.save_description(description, workdir)
    return workdir, state


@pytest.fixture
def copy(made, tmp_path):
    return Path(shutil.copytree(made[0], tmp_path / "copy"))


@pytest.mark.parametrize(
    "name", ["checkpoints", "checkpoints/2", "report", "samples", "samples/step_0000009.png",
             "config.json", "codes.npz", "run.json"],
)  # fmt: skip
def test_links_that_lead_out_of_the_workdir(copy, tmp_path, name):
    outside, link = tmp_path / "outside", copy / name
    outside.mkdir()
    if link.exists():
        link.rename(outside / "moved")
        link.symlink_to(outside / "moved")
    else:
        link.symlink_to(outside if "." not in name else outside / "secret")
    before = tree(outside), tree(copy)
    one_sentence(lambda: evaluate_workdir(copy, report=True), link, "leads out of")
    one_sentence(lambda: load_encoder(copy), link)
    assert (tree(outside), tree(copy)) == before


def test_a_link_within_the_workdir(copy):
    (copy / "checkpoints").rename(copy / "elsewhere")
    (copy / "checkpoints").symlink_to("elsewhere")
    assert load_encoder(copy).num_bits == 16


def test_nothing_that_a_config_names_is_imported(copy, tmp_path, monkeypatch):
    (tmp_path / "stranger.py").write_text("raise SystemError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    config = json.loads((copy / "config.json").read_text())
    config["loss"] = dict.fromkeys(config["loss"], "stranger:run")
    config["augment"] = {"name": "stranger:run"}
    write_json(copy / "config.json", config)
    assert evaluate_workdir(copy)["step"] == 2
    for field in ("method", "representation", "data"):
        if isinstance(config[field], dict):
            changed = {name: "stranger:run" for name in config[field]}
        else:
            changed = "stranger:run"
        write_json(copy / "config.json", config | {field: changed})
        with contextlib.suppress(UserError):  # refused, or not even looked at
            evaluate_workdir(copy)
    content = json.loads((copy / "signature.json").read_text())
    content["network"]["representation.name"] = "stranger:run"
    content.pop("checksum")
    encoder_files.save_description(encoder_files.from_dict(content), copy)
    with pytest.raises(UserError):
        load_encoder(copy)
    assert "stranger" not in sys.modules


def test_the_cache_that_a_config_names_is_used_where_there_is_one(copy, tmp_path):
    config = json.loads((copy / "config.json").read_text())
    config["data"] |= {
        "source": "image_files", "root": "", "image_root": "", "image_size": 16,
        "memory_limit_gb": 1.0, "cache_dir": str(tmp_path / "theirs"),
    }  # fmt: skip
    config["topics"] = {"cache": str(tmp_path / "topics")}
    write_json(copy / "config.json", config)
    assert load_config_of(copy, "").data.cache_dir == "~/.cache/dsh_jax/images"
    assert load_config_of(copy, "").topics.cache == ""
    assert load_config_of(copy, "mine").data.cache_dir == str(tmp_path / "theirs")
    for name in ("theirs", "topics"):
        (tmp_path / name).mkdir()
    (tmp_path / "topics/fitted.npz").write_bytes(b"")
    (tmp_path / "theirs/images.array_record").write_bytes(b"")
    assert load_config_of(copy, "").data.cache_dir == str(tmp_path / "theirs")
    assert load_config_of(copy, "").topics.cache == str(tmp_path / "topics")


@pytest.mark.parametrize("when", ["before the record", "before the state"])
def test_a_checkpoint_that_is_replaced_while_it_is_read(made, copy, monkeypatch, when):
    # The training's next checkpoint is better, and Orbax deletes the one that was chosen.
    name = "record" if when == "before the record" else "_check_network"
    wrapped, chosen = getattr(Checkpoints, name), []

    def replacing(self, *arguments):
        if not chosen:
            chosen.append(Checkpoints(copy / "checkpoints").latest())
            monkeypatch.setattr(Checkpoints, name, wrapped)
            save(copy, made[1], {8: 0.95})
            for step in (2, 5):
                shutil.rmtree(copy / "checkpoints" / str(step), ignore_errors=True)
            if name == "record":
                return wrapped(self, 2)
        return wrapped(self, *arguments)

    monkeypatch.setattr(Checkpoints, name, replacing)
    assert evaluate_workdir(copy)["step"] == 8 and chosen


def test_a_damaged_checkpoint_is_named(copy):
    state = copy / "checkpoints/2/state"
    largest = max((p for p in state.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    for place in range(64, len(content), 64):  # so that parameters are among what is hit
        content[place] ^= 1
    largest.write_bytes(content)
    one_sentence(lambda: evaluate_workdir(copy), copy / "checkpoints/2", "damaged")
    one_sentence(lambda: load_encoder(copy), copy / "checkpoints/2", "damaged")
    assert evaluate_workdir(copy, checkpoint="latest")["step"] == 5
    shutil.rmtree(copy / "checkpoints/2/record")
    one_sentence(lambda: load_encoder(copy), copy / "checkpoints/2", "checksums")


def test_codes_of_no_use_are_said_to_be(made, copy, monkeypatch):
    def codes(*_, as_labels, value=0):
        return Codes(
            np.zeros((100, 2), np.uint8), np.full((1697, 2), value, np.uint8),
            np.zeros((0, 2), np.uint8),
        )  # fmt: skip

    monkeypatch.setattr("dsh_jax.evaluation.trained_codes", codes)
    result = evaluate_workdir(copy)
    assert result["warnings"] == [
        "all query codes are equal, so the scores say nothing.",
        "all database codes are equal, so the scores say nothing.",
    ]
    assert json.loads((copy / "eval.json").read_text())["warnings"] == result["warnings"]
    rng = np.random.default_rng(0)

    def half(*_, as_labels):
        return Codes(*(
            np.uint8([1, 0]) * rng.integers(0, 255, (n, 2), np.uint8) for n in (100, 1697, 0)
        ))  # fmt: skip

    monkeypatch.setattr("dsh_jax.evaluation.trained_codes", half)
    bits = "bits 8, 9, 10, 11, 12, 13, 14, 15 (the first bit is 0)."
    assert evaluate_workdir(copy)["warnings"] == [
        f"8 of 16 bits are the same in all query codes: {bits}",
        f"8 of 16 bits are the same in all database codes: {bits}",
    ]


def test_changed_targets_are_refused(tmp_path):
    path = tmp_path / "targets.npz"
    targets.save(Targets(np.arange(9), np.ones((9, 4), np.int8)), path)
    arrays = dict(np.load(path))
    np.savez(path, **(arrays | {"codes": -arrays["codes"]}))
    with pytest.raises(UserError, match="targets.npz cannot be read.*delete it"):
        targets.load(path)
    arrays.pop("checksum")
    np.savez(path, **arrays)
    with pytest.raises(UserError, match="targets.npz cannot be read.*delete it"):
        targets.load(path)
