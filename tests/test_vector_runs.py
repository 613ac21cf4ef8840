"""Vectors from end to end by the real commands: train, evaluate, report, encode; and mistakes."""

import json

import numpy as np
import pytest
from commands import ROOT, only_sentence, run_forked
from PIL import Image

from configs import features, smoke
from dsh_jax import load_encoder
from dsh_jax.data.loading import load_dataset
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.training.experiment import prepare
from dsh_jax.training.preview import preview

CONFIG = f"--config={ROOT / 'configs/features.py'}"
SMALL = smoke.shrink(features.get_config())
FLAGS = [
    f"--config.{name}={value}"
    for name, value in {
        "num_bits": 8, "batch_size": 8, "gan": False, "triplets": "real", "num_steps": 4,
        "representation.width": 8, "encode_batch_size": 64,
        "eval_every_steps": 3, "log_every_steps": 2, "data.normalise": "standardise",
        "data.memory_limit_gb": 0.0,
    }.items()
]  # fmt: skip


def made(folder):
    """Three classes around three points, a fifth of the vectors without a label, with pictures."""
    rng = np.random.default_rng(0)
    labels = np.arange(100) % 3
    vectors = (np.eye(3, 6)[labels] + 0.1 * rng.standard_normal((100, 6))).astype(np.float32)
    folder.mkdir()
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "labels.npy", np.where(np.arange(100) % 5, labels, -1))
    (folder / "ids.txt").write_text("".join(f"item-{row}\n" for row in range(100)))
    (folder / "paths.txt").write_text("".join(f"{row % 3}.png\n" for row in range(100)))
    for shade in range(2):  # the third is missing
        Image.new("RGB", (9, 5), (100 * shade,) * 3).save(folder / f"{shade}.png")
    return vectors, labels


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors")
    vectors, _ = made(folder / "data")
    code, stderr = run_forked(
        folder, "train.py", CONFIG, f"--workdir={folder / 'run'}",
        f"--config.data.root={folder / 'data'}", *FLAGS,
    )  # fmt: skip
    assert code == 0, stderr
    assert "100 of 6 numbers, normalised by 'standardise'" in stderr
    return folder, vectors


def test_codes_of_an_encoder_are_those_of_the_evaluation(trained):
    folder, vectors = trained
    code, stderr = run_forked(folder, "eval.py", f"--workdir={folder / 'run'}", "--report")
    assert code == 0, stderr
    result = json.loads((folder / "run/eval.json").read_text())
    assert (result["kind"], result["num_items"], result["dataset"]) == ("vectors", 100, "features")
    codes = np.load(folder / "run/codes.npz")
    encoder = load_encoder(folder / "run")
    np.testing.assert_array_equal(encoder.encode(vectors), codes["codes"])
    np.testing.assert_array_equal(encoder.encode(list(vectors[:3].astype(np.float64))),
                                  codes["codes"][:3])  # fmt: skip
    assert encoder.encode(vectors[0]).shape == (1, 1)
    assert codes["names"][7] == "item-7" and encoder.features(vectors).shape == (100, 8)
    page = (folder / "run/report/report.html").read_text()
    assert "item-" in page and (folder / "run/report/gallery.png").exists()
    assert not (folder / "run/samples").exists()  # vectors are no pictures

    encoder.save(folder / "mine.safetensors")
    saved = load_encoder(folder / "mine.safetensors")
    assert saved.signature == encoder.signature and len(saved.signature.inputs.mean) == 6
    np.testing.assert_array_equal(saved.encode(vectors), codes["codes"])
    for wrong, says in ((vectors[:, :5], r"floats \[n, 6\], got float32 \(100, 5\)"),
                        (vectors * np.nan, "of them hold NaN, infinity")):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            saved.encode(wrong)


def test_baselines_and_the_floats_themselves_on_the_same_vectors(trained):
    folder, _ = trained
    found = {name: evaluate_workdir(folder / "run", baseline=name) for name in ("lsh", "cosine")}
    # Standardised, the classes still lie apart.
    assert found["cosine"]["map"] > 0.9 > found["lsh"]["map"] > 0.3
    assert found["cosine"]["num_bits"] == 32 * 6 and found["cosine"]["codes"] == "cosine"
    assert json.loads((folder / "run/eval_cosine.json").read_text()) == found["cosine"]
    with pytest.raises(UserError, match="choose between 1 and 6 bits"):
        evaluate_workdir(folder / "run", baseline="pca")
    with pytest.raises(UserError, match="has no codes; leave out --report"):
        evaluate_workdir(folder / "run", baseline="cosine", report=True)


def test_data_that_was_changed_is_refused(trained):
    folder, vectors = trained
    before = (folder / "data/vectors.npy").read_bytes()
    np.save(folder / "data/vectors.npy", vectors + 1)
    with pytest.raises(UserError, match="is not the split that this config draws from data"):
        evaluate_workdir(folder / "run")
    (folder / "data/vectors.npy").write_bytes(before)


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"representation.name": "conv3"}, "representation.name is 'conv3', but the data is vectors"),
     ({"generator.name": "dcgan"}, "generator.name is 'dcgan', but the data is vectors"),
     ({"augment.flip": True}, "augment.flip is True, which is not for vectors; set it to False."),
     ({"mirrored": True}, "mirrored is True, which is not for vectors"),
     ({"shifted": 1}, "shifted is 1, which is not for vectors"),
     ({"judge": "a"}, "judge is 'a', which is not for vectors"),
     ({"representation.depth": 4}, "has up to 3 layers"),
     ({"representation.norm": "group"}, "mlp has one of ('none', 'batch', 'layer')"),
     ({"data.normalise": "l1"}, "data.normalise is 'l1'; set it to one of"),
     ({"method": "shttm"}, "method 'shttm' takes documents or tf-idf rows, but data.source"),
     ({"data.root": ""}, "data.root is empty; set it to a .npy, .npz or Parquet file")],
)  # fmt: skip
def test_what_does_not_go_with_vectors(trained, changes, says):
    folder, _ = trained
    config = SMALL.copy_and_resolve_references()
    config.data.root = str(folder / "data")
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError) as caught:
        prepare(config, None)
    assert says in str(caught.value)


def test_a_dry_run_counts_and_a_mistake_ends_with_exit_code_2(tmp_path):
    vectors, _ = made(tmp_path / "data")
    flags = [CONFIG, f"--workdir={tmp_path / 'run'}", f"--config.data.root={tmp_path / 'data'}"]
    vectors[[3, 70]] = np.nan
    np.save(tmp_path / "data/vectors.npy", vectors)
    code, stderr = run_forked(tmp_path, "train.py", *flags)
    found = only_sentence(code, stderr)
    assert "in 2 of its vectors" in found and "(rows 3, 70," in found
    assert not (tmp_path / "run").exists()
    np.save(tmp_path / "data/vectors.npy", np.nan_to_num(vectors))
    config = SMALL.copy_and_resolve_references()
    config.data.root = str(tmp_path / "data")
    text, problems = preview(config, tmp_path / "run")
    assert not problems and text == (tmp_path / "run/preview.txt").read_text().rstrip("\n")
    assert "(no label)" in text and "vectors     100 of 6 numbers" in text


def test_classes_that_only_test_vectors_have_are_left_out(tmp_path):
    _, labels = made(tmp_path / "data")
    names = labels.astype("U3")
    names[:2] = "new"
    np.save(tmp_path / "data/labels.npy", names)
    np.save(tmp_path / "data/test.npy", np.arange(len(labels)) < 10)
    config = SMALL.copy_and_resolve_references()
    config.data.root = str(tmp_path / "data")
    dataset = load_dataset(config.data)
    assert "new" not in dataset.class_names and dataset.labels[:2].tolist() == [-1, -1]
    assert any("only test items have are left out" in line for line in dataset.remarks())
