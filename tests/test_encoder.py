"""Encoders: the codes of new items, by what a workdir keeps, without its data."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs import smoke
from dsh_jax import hamming
from dsh_jax.data.images.built_in import load
from dsh_jax.encoder import UnreadableItems, load_encoder
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.training.loop import train

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def images():
    return load("digits").images


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    place = tmp_path_factory.mktemp("encoder") / "run"
    train(smoke.get_config(), place, {"command": ""})
    evaluate_workdir(place)
    return place


@pytest.fixture(scope="module")
def encoder(workdir):
    return load_encoder(workdir)


def enlarged(pixels, factor=5):
    return np.kron(pixels, np.ones((factor, factor, 1), np.uint8))


def test_evaluation_has_the_encoders_codes_bit_for_bit(workdir, encoder, images):
    with np.load(workdir / "codes.npz") as codes:
        for role in ("query", "database"):
            np.testing.assert_array_equal(
                encoder.encode(images[codes[f"{role}_ids"]]), codes[f"{role}_codes"]
            )


def test_what_an_encoder_says_of_itself(encoder):
    assert (encoder.num_bits, encoder.num_bytes) == (16, 2)
    assert encoder.class_names == tuple("0123456789")
    assert (encoder.method, encoder.codes) == ("dsh_gan", "synthetic")
    assert encoder.signature.image_shape == (8, 8, 1)
    assert len(encoder.fingerprint) == 64


def test_relaxed_codes_are_what_codes_are_made_of(encoder, images):
    relaxed = encoder.relaxed(images[:50])
    assert relaxed.shape == (50, 16) and relaxed.dtype == np.float32
    assert ((relaxed >= 0) & (relaxed <= 1)).all()
    np.testing.assert_array_equal(
        hamming.unpack(encoder.encode(images[:50]), 16), (relaxed > 0.5).astype(np.uint8)
    )


def test_probabilities_of_one_label_sum_to_one(encoder, images):
    probabilities = encoder.probabilities(images[:20])
    assert probabilities.shape == (20, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 64, 500])
def test_batches_do_not_matter(encoder, images, batch_size):
    # Sums may round differently in batches of another size.
    one = encoder.relaxed(images[:65], batch_size=batch_size)
    np.testing.assert_allclose(one, encoder.relaxed(images[:65]), atol=1e-5)


def test_arrays_files_and_pillow_images_have_the_same_codes(encoder, images, tmp_path):
    wanted = encoder.encode(images[:6])
    paths = []
    for row, pixels in enumerate(images[:6]):
        paths.append(tmp_path / f"{row}.png")
        Image.fromarray(pixels[..., 0]).save(paths[-1])
    pictures = [Image.open(path) for path in paths]
    for items in (
        images[:6], list(images[:6]), paths, list(map(str, paths)), pictures, iter(paths),
        (path for path in paths), [paths[0], pictures[1], *images[2:6]], np.asarray(images[:6]),
    ):  # fmt: skip
        np.testing.assert_array_equal(encoder.encode(items), wanted)
    for single in (paths[0], str(paths[0]), pictures[0]):
        np.testing.assert_array_equal(encoder.encode(single), wanted[:1])


def test_images_of_another_size_are_resized(encoder, images):
    large = np.stack([enlarged(pixels) for pixels in images[:40]])
    relaxed, wanted = encoder.relaxed(large), encoder.relaxed(images[:40])
    # Resizing is not exact, so a unit near 0.5 may move far; hardly any does.
    assert np.abs(relaxed - wanted).mean() < 0.05
    assert (np.abs(relaxed - wanted) > 0.3).mean() < 0.02
    # Only the square in the middle counts, but for what the filter sees across its edge.
    wide = np.pad(large, ((0, 0), (0, 0), (30, 30), (0, 0)))
    assert np.abs(encoder.relaxed(wide) - relaxed).mean() < 0.02


def test_progress_is_shown_when_asked_for(encoder, images, capsys):
    encoder.encode(images[:3])
    assert capsys.readouterr().err == ""
    encoder.encode(images[:3], progress=True)
    assert "3/3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x: x / np.float32(255), ["uint8", "float32", "255 * images"]),
        (lambda x: x.astype(np.int64), ["uint8", "int64"]),
        (lambda x: np.repeat(x, 3, axis=-1), ["1 channel", "(4, 8, 8, 3)"]),
        (lambda x: x[..., 0], ["[n, height, width, channels]", "(4, 8, 8)"]),
        (lambda x: x[0], ["[n, height, width, channels]", "(8, 8, 1)"]),
        (lambda x: x[:0], ["no items"]),
        (lambda x: x[:, :0], ["pixels", "(4, 0, 8, 1)"]),
        (lambda x: [], ["no items"]),
        (lambda x: iter(()), ["no items"]),
        (lambda x: [x[0] / 255], ["uint8", "float64"]),
        (lambda x: [None], ["paths, Pillow images or uint8 arrays"]),
        (lambda x: 3, ["iterable"]),
    ],
)
def test_items_of_the_wrong_kind(encoder, images, make, words):
    with pytest.raises(ValueError) as error:
        encoder.encode(make(images[:4]))
    assert all(word in str(error.value) for word in words), str(error.value)


def test_files_that_are_no_images_are_named_and_the_others_are_not_lost(
    encoder, images, tmp_path
):
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(images[0, ..., 0]).save(tmp_path / "good.png")
    names = ["none.png", "good.png", "text.png", "good.png", "."]
    with pytest.raises(UnreadableItems, match=r"item 0 \(.*none.png\).*no such file") as caught:
        encoder.encode([tmp_path / name for name in names], batch_size=2)
    error = caught.value
    assert isinstance(error, UserError) and "\n" not in str(error)
    assert [failure.position for failure in error.failures] == [0, 2, 4]
    assert error.failures[1].name.endswith("text.png")
    np.testing.assert_array_equal(error.positions, [1, 3])
    np.testing.assert_array_equal(error.outputs, encoder.encode(images[[0, 0]]))
    with pytest.raises(UnreadableItems) as caught:
        encoder.probabilities(tmp_path / "none.png")
    assert caught.value.outputs.shape == (0, 10)


def test_an_encoder_needs_no_data_and_nothing_of_training(workdir, images, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copytree(workdir / "checkpoints", moved / "checkpoints")
    shutil.copy(workdir / "signature.json", moved)
    np.save(tmp_path / "images.npy", images[:5])
    code = (
        "import json, sys, numpy as np\n"
        "from dsh_jax import load_encoder\n"
        f"codes = load_encoder({str(moved)!r}).encode(np.load({str(tmp_path / 'images.npy')!r}))\n"
        "slow = ['sklearn', 'tensorflow_datasets', 'matplotlib', 'dsh_jax.training']\n"
        "print(json.dumps([codes.tolist(), [name for name in slow if name in sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    codes, loaded = json.loads(done.stdout)
    np.testing.assert_array_equal(codes, load_encoder(workdir).encode(images[:5]))
    assert loaded == []


def test_best_and_latest(workdir, images):
    latest = load_encoder(workdir, checkpoint="latest")
    assert latest.fingerprint == load_encoder(workdir, checkpoint="latest").fingerprint
    result = evaluate_workdir(workdir, checkpoint="latest")
    with np.load(workdir / "codes.npz") as codes:
        ids = codes["query_ids"]
        np.testing.assert_array_equal(latest.encode(images[ids]), codes["query_codes"])
    assert result["checkpoint"] == "latest"


def test_a_strangers_config_is_not_run(workdir, tmp_path):
    # An encoder and its evaluation take the network alone: a loss that the config names is not
    # even imported.
    copy = tmp_path / "run"
    shutil.copytree(workdir, copy)
    config = json.loads((copy / "config.json").read_text())
    config["loss"]["triplet"] = "no_such_module_at_all:loss"
    (copy / "config.json").write_text(json.dumps(config))
    assert evaluate_workdir(copy)["map"] == evaluate_workdir(workdir)["map"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(format=3), "format 3"),
        (lambda d: d["network"].update(num_bits=0), "checksum"),
        (lambda d: d["signature"].update(labels="both"), "labels"),
        (lambda d: d.pop("signature"), "signature"),
        (lambda d: d.update(checksum="x"), "checksum"),
    ],
)
def test_a_damaged_signature(workdir, tmp_path, change, words):
    shutil.copytree(workdir, tmp_path / "run")
    path = tmp_path / "run/signature.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"signature.json .*{words}") as error:
        load_encoder(tmp_path / "run")
    assert "\n" not in str(error.value)


def test_workdirs_that_hold_no_encoder(workdir, tmp_path):
    with pytest.raises(UserError, match="no workdir and no encoder file .*none"):
        load_encoder(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty has no signature.json.*version 0\.1"):
        load_encoder(tmp_path / "empty")
    shutil.copy(workdir / "signature.json", tmp_path / "empty")
    with pytest.raises(UserError, match="empty holds no checkpoint yet"):
        load_encoder(tmp_path / "empty")
