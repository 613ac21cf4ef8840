"""The committed encoder is the one that its measures are of, and the documented lines run."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs import digits_16bit, digits_16bit_best, smoke
from dsh_jax import evaluate, load_encoder
from dsh_jax.training.experiment import load_data
from dsh_jax.training.loop import train
from tests import corpus

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def results_of_digits():
    """Labels per class and split seed -> a committed result."""
    found = {}
    for path in sorted((ROOT / "results").glob("digits_16bit_*labels_best_draw*.json")):
        result = json.loads(path.read_text())
        number = result["num_labeled"] // 10
        found[number, result["split_seed"]] = result
    return found


def test_splits_are_those_of_the_committed_results():
    config = digits_16bit_best.get_config()
    results = results_of_digits()
    assert len(results) >= 10
    for (labeled, seed), result in results.items():
        config.data.update(labeled_per_class=labeled, split_seed=seed)
        _, split = load_data(config, None)
        assert (split.checksum, split.query_checksum, split.protocol) == (
            result["split_checksum"], result["query_checksum"], result["protocol"]
        )  # fmt: skip


def blocks(page):
    """The Python code of a page that loads an encoder."""
    found = BLOCK.findall((ROOT / page).read_text())
    start = next(k for k, block in enumerate(found) if "load_encoder" in block)
    return found[start:]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to run documented lines in: they find examples/ there, and write there."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_example_has_the_measures_beside_it():
    encoder = load_encoder(ROOT / "examples/digits_16bit.safetensors")
    measures = json.loads((ROOT / "examples/digits_16bit.json").read_text())
    dataset, split = load_data(digits_16bit.get_config(), ROOT / "none")
    assert split.checksum == measures["split_checksum"]
    query, database = (encoder.encode(dataset.images[ids]) for ids in (split.query, split.database))
    measured = evaluate(
        query, dataset.labels[split.query], database, dataset.labels[split.database],
        num_bits=encoder.num_bits,
    )  # fmt: skip
    assert measured["map"] == pytest.approx(measures["map"], abs=1e-3)
    assert measures["num_bits"] == encoder.num_bits and measures["map"] > 0.9


def test_the_encoder_of_photos_is_the_one_that_was_measured():
    encoder = load_encoder(ROOT / "examples/cifar10_48bit.safetensors")
    measures = json.loads((ROOT / "examples/cifar10_48bit.json").read_text())
    row = json.loads((ROOT / "results/cifar10_48bit_best_cpu_draw0.json").read_text())
    assert measures["encoder"] == encoder.fingerprint
    assert measures["map"] == pytest.approx(row["map"], abs=1e-3)
    assert measures["query_checksum"] == row["query_checksum"]
    assert encoder.class_names[:2] == ("airplane", "automobile")


def test_the_example_is_small_and_its_digits_are_never_trained_on():
    assert 80_000 < (ROOT / "examples/digits_16bit.safetensors").stat().st_size < 150_000
    dataset, split = load_data(digits_16bit.get_config(), ROOT / "none")
    for path in (ROOT / "examples/digits").glob("*.png"):
        same = (dataset.images[..., 0] == np.asarray(Image.open(path))).all(axis=(1, 2))
        assert np.isin(np.flatnonzero(same), split.query).all() and same.any()
        assert set(dataset.labels[same]) == {int(path.name[0])}


def test_the_lines_of_the_readme(folder):
    lines, *others = blocks("README.md")
    assert len(lines.splitlines()) == 5 and not others
    scope = {}
    exec(lines, scope)
    assert scope["codes"].shape == (2, scope["encoder"].num_bytes)
    assert (folder / "mine.safetensors").is_file()


def test_the_lines_of_the_page_about_encoders(folder, capsys):
    config = smoke.get_config()
    config.update(gan=False, triplets="real")
    train(config, folder / "runs/mine", {})
    documents = corpus.config(corpus.write(folder / "corpus.jsonl"))
    train(documents, folder / "runs/reuters", {})
    scope = {}
    for number, block in enumerate(blocks("docs/encoder.md")):
        exec(compile(block, f"block {number}", "exec"), scope)
    assert [failure.position for failure in scope["failures"]] == [1]
    assert len(scope["codes"]) == 3
    np.testing.assert_array_equal(scope["kept"], [0])
