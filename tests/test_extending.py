"""docs/extending.md: its code is taken from the page and run, and what it shows is what happens."""

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from sklearn.metrics import roc_auc_score

from configs import digits_16bit, smoke
from dsh_jax import load_encoder
from dsh_jax.data import loading
from dsh_jax.data.signature import ImageInputs, Signature
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.losses.slots import SLOTS
from dsh_jax.methods import METHODS
from dsh_jax.training.blame import check_finite
from dsh_jax.training.experiment import prepare
from dsh_jax.training.loop import train
from tests.commands import ROOT, only_sentence

PAGE = (ROOT / "docs/extending.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FIRST_LINE = re.compile(r"# (\w+\.py)(, continued)?\n")
CODE = [(FIRST_LINE.match(block)[1], block) for kind, block in BLOCKS if kind == "python"]
PLAIN = [block for kind, block in BLOCKS if not kind]
# Without a generator there is less to compile.
SMALL = ["gan=False", "triplets=real", "num_steps=4", "eval_every_steps=4", "batch_size=8",
         "representation.width=8", "representation.features=16"]  # fmt: skip


def write_files(folder):
    """The page's files; what continues a file is appended to it."""
    for name, code in CODE:
        with (folder / name).open("a") as file:
            file.write(f"{code}\n\n")


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A folder that holds the page's files and can be imported from."""
    write_files(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name, _ in CODE:
        sys.modules.pop(name.removesuffix(".py"), None)


def take(name):
    return importlib.import_module(name)


def shown(line):
    """Whether a block of the page is, or has, exactly this line."""
    return line in [each.strip() for block in PLAIN for each in block.splitlines()]


def run_shown(folder, command, *overrides, expected=0):
    """Runs a command of the page in a folder that holds its files, `train.py` and `eval.py`."""
    assert shown(command)
    for name in ("train.py", "eval.py"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    program, *arguments = shlex.split(command)
    assert program == "python"
    done = subprocess.run(
        [sys.executable, *arguments, *(f"--config.{override}" for override in overrides)],
        cwd=folder, env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == expected, done.stderr
    return done


def logged(workdir):
    """name -> value of all metrics, the latest of each."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {name: value for line in lines for name, value in line.items()}


def test_every_block_of_code_is_a_file_that_is_run_here():
    assert {kind for kind, _ in BLOCKS} == {"", "python"}
    used = Path(__file__).read_text()
    for name in {name for name, _ in CODE}:
        assert f'take("{name.removesuffix(".py")}")' in used or f"{name} " in used, name


# Losses.


def test_a_loss_and_a_metric_with_the_commands_of_the_page(page):
    command = "python train.py --config my_config.py --workdir runs/mine"
    assert "`--config.metrics=my_metrics:auc`" in PAGE
    done = run_shown(page, command, *SMALL, "metrics=my_metrics:auc")
    config = json.loads((page / "runs/mine/config.json").read_text())
    assert config["loss"]["triplet"] == "my_losses:soft_triplet"
    assert config["loss"]["triplet_options"] == {"temperature": 2.0}
    assert np.isfinite(logged(page / "runs/mine")["hash/triplet"])
    assert 0.5 < logged(page / "runs/mine")["validation_auc"] < 1
    assert f"auc={logged(page / 'runs/mine')['validation_auc']:.3f}" in done.stderr
    (page / "my_losses.py").unlink()  # evaluation does not need it
    printed = run_shown(page, "python eval.py --workdir runs/mine --metrics my_metrics:auc").stdout
    result = json.loads((page / "runs/mine/eval.json").read_text())
    assert re.search(rf"^auc +{result['metrics']['auc']:.4f}$", printed, re.MULTILINE)

    codes = np.load(page / "runs/mine/codes.npz")
    bits, labels = np.unpackbits(codes["query_codes"], axis=1), codes["query_labels"]
    wanted = [
        roc_auc_score(np.delete(labels == label, row), np.delete(-(bits != code).sum(axis=1), row))
        for row, (code, label) in enumerate(zip(bits, labels, strict=True))
    ]
    assert result["metrics"] == {"auc": pytest.approx(np.mean(wanted), rel=1e-9)}


def test_a_mistake_in_a_real_process(page):
    text = (page / "my_losses.py").read_text()
    (page / "my_losses.py").write_text(text.replace("jnp.sum(", "jnp.sun("))
    command = "python train.py --config my_config.py --workdir runs/mine"
    done = run_shown(page, command, expected=2)
    assert shown(only_sentence(2, done.stderr))
    assert not (page / "runs").exists()


@pytest.mark.parametrize("mistake", ["no sum", "misspelt option", "metric"])
def test_the_other_mistakes_that_are_shown(page, mistake):
    if mistake == "no sum":
        text = (page / "my_losses.py").read_text()
        (page / "my_losses.py").write_text(text.replace("jnp.sum((anchor", "((anchor"))
    if mistake == "metric":
        text = (page / "my_metrics.py").read_text()
        (page / "my_metrics.py").write_text(text.replace("codes.shape", "codes.shap"))
    config = take("my_config").get_config()
    config.metrics = ("my_metrics:auc",)
    if mistake == "misspelt option":
        config.loss.triplet_options = {"temprature": 2.0}
    with pytest.raises(UserError) as caught:
        prepare(config, page / "run")
    assert shown(f"error: {caught.value}")


def test_the_loss_that_is_not_finite_is_named():
    config = ConfigDict({"loss": {"triplet": "my_losses:soft_triplet", "classification": "auto"}})
    signature = Signature(ImageInputs(8, 8, 1), "single", ("a", "b"))
    row = {"hash/triplet": np.nan, "hash/classification": 1.0, "hash/loss": np.nan}
    assert shown(f"error: {check_finite(config, signature, 120, row)}")


def test_the_soft_triplet_by_hand(page):
    # d = 2 - 1 = 1: 3 log(1 + exp(1/3)).
    codes = jnp.array([[0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    value = take("my_losses").soft_triplet(*codes, temperature=3.0)
    assert float(value) == pytest.approx(3 * np.log(1 + np.exp(1 / 3)), rel=1e-6)


def test_dpsh_by_hand(page):
    # u.v = 2 - 1.5 - 1 = -0.5, so theta is -0.25; |sign(u) - u|^2 = 0 + 0.25 + 1 = 1.25 and
    # |sign(v) - v|^2 = 1 + 4 + 0.25 = 5.25.
    a, b = jnp.array([[1.0, 0.5, 2.0], [2.0, -3.0, -0.5]])
    pairwise = take("dpsh").pairwise
    log = np.log(1 + np.exp(-0.25))
    assert float(pairwise(a, b, 0.0)) == pytest.approx(log, rel=1e-6)
    assert float(pairwise(a, b, 1.0)) == pytest.approx(log + 0.25, rel=1e-6)
    assert float(pairwise(a, b, 1.0, eta=0.1)) == pytest.approx(log + 0.25 + 0.1 * 6.5, rel=1e-6)
    # d/da = (sigmoid(theta) - s) b / 2
    gradient = jax.grad(pairwise)(a, b, 1.0)
    np.testing.assert_allclose(gradient, (1 / (1 + np.exp(0.25)) - 1) * b / 2, rtol=1e-5)


def test_dpsh_trains_and_so_does_a_loss_of_a_batch(page):
    config = smoke.shrink(take("dpsh_config").get_config())
    config.loss.batch = "my_losses:balance"
    assert '`config.loss.batch = "my_losses:balance"`' in PAGE
    config.update(num_steps=30, eval_every_steps=30, log_every_steps=5, batch_size=16)
    train(config, page / "run", {})
    lines = [json.loads(line) for line in (page / "run/metrics.jsonl").read_text().splitlines()]
    pair = [line["hash/pair"] for line in lines if "hash/pair" in line]
    assert pair[-1] < pair[0]
    last = logged(page / "run")
    assert 0 <= last["hash/batch"] <= 16 / 4
    assert last["hash/loss"] == pytest.approx(last["hash/pair"] + last["hash/batch"], rel=1e-4)


def test_the_table_of_slots_is_the_code_s():
    rows = [line.split(" | ")[:2] for line in PAGE.splitlines() if line.startswith("| `loss.")]
    wanted = [
        [f"| `loss.{slot}`", ", ".join(f"{name} [{', '.join(s)}]" for name, s in shapes.items())]
        for slot, shapes in SLOTS.items()
    ]
    assert rows == wanted
    for line in PAGE.splitlines():
        if match := re.match(r"\| `(loss\.\w+)`", line):
            users = {name for name, recipe in METHODS.items()
                     if match[1] in {**recipe.fields, **recipe.optional}}  # fmt: skip
            assert set(re.findall("`(\\w+)`", line.split(" | ")[-1])) == users


# A method.


def test_the_toy_method_is_short():
    (code,) = [code for name, code in CODE if name == "toy.py"]
    assert len([line for line in code.splitlines() if line.strip()]) <= 40


def test_the_toy_method_trains_and_encodes(page, monkeypatch):
    assert shown('"toy": toy.RECIPE,')
    monkeypatch.setitem(METHODS, "toy", take("toy").RECIPE)
    config = smoke.shrink(take("toy_config").get_config())
    config.update(num_steps=120, eval_every_steps=120, log_every_steps=20, batch_size=32)
    train(config, page / "run", {})
    result = evaluate_workdir(page / "run")
    assert result["method"] == result["codes"] == "toy"
    assert result["map"] > 0.2  # chance is 0.1

    encoder = load_encoder(page / "run")
    saved = np.load(page / "run/codes.npz")
    images = loading.load_dataset(config.data).images[saved["query_ids"]]
    np.testing.assert_array_equal(encoder.encode(images), saved["query_codes"])
    assert encoder.method == "toy"
    np.testing.assert_allclose(encoder.probabilities(images).sum(axis=1), 1, rtol=1e-5)
    encoder.save(page / "toy.safetensors")
    assert load_encoder(page / "toy.safetensors").fingerprint == encoder.fingerprint


# A data source.


def test_a_source_of_ones_own(page, monkeypatch):
    assert shown('"npz": my_images.load,')
    monkeypatch.setitem(loading.SOURCES, "npz", take("my_images").load)
    config = smoke.get_config()
    config.update(gan=False, triplets="real")
    digits = loading.load_dataset(config.data)
    np.savez(page / "my_images.npz", images=digits.images, labels=digits.labels)
    config.data.source, config.data.data_dir = "npz", str(page / "my_images.npz")
    train(config, page / "run", {})
    assert evaluate_workdir(page / "run")["dataset"] == "npz"

    moved = (page / "my_images.npz").rename(page / "moved.npz")
    assert evaluate_workdir(page / "run", data_dir=str(moved))["dataset"] == "npz"
    with pytest.raises(UserError, match=r"data.data_dir .*my_images.npz' cannot be read"):
        evaluate_workdir(page / "run")
    np.savez(moved, images=digits.images, labels=digits.labels[::-1])
    with pytest.raises(UserError, match="is not the split"):
        evaluate_workdir(page / "run", data_dir=str(moved))


def test_a_source_that_is_no_npz_file(page):
    config = digits_16bit.get_config()
    for content in (b"", b"PK\x03\x04 not whole"):
        (page / "broken.npz").write_bytes(content)
        config.data.data_dir = str(page / "broken.npz")
        with pytest.raises(UserError, match="broken.npz' cannot be read"):
            take("my_images").load(config.data)


# A metric.


def test_the_metric_by_hand(page):
    # Query 0: relevant at 0 and 2 bits, others at 1, 2 and 2: (3 + 1/2 + 1/2) / 6 are won.
    counts = np.zeros((2, 4, 3), int)
    counts[0, [0, 2], [1, 2]] = 1
    counts[0, [1, 2], 0] = 1, 2
    counts[1, 3, 0] = 5  # no relevant item
    np.testing.assert_allclose(take("my_metrics").of_counts(counts), [4 / 6, np.nan])
