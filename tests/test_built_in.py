"""Built-in data sets: what is read, and the errors when nothing can be."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsh_jax.data.images import built_in as sources
from dsh_jax.data.images.dataset import ImageDataset
from dsh_jax.errors import UserError

TFDS_DIR = Path(__file__).parents[2] / "shared/data/tfds"
needs_cifar10 = pytest.mark.skipif(
    not (TFDS_DIR / "cifar10").is_dir(), reason=f"CIFAR-10 is not prepared in {TFDS_DIR}"
)


@pytest.fixture(scope="module")
def cifar10():
    return sources.load("cifar10", str(TFDS_DIR))


def test_digits():
    from sklearn.datasets import load_digits

    digits = sources.load("digits")
    assert digits.images.shape == (1797, 8, 8, 1) and digits.images.dtype == np.uint8
    assert digits.labels.dtype == np.int32 and digits.is_test.dtype == bool
    assert not digits.is_test.any()
    assert (digits.name, digits.version) == ("digits", "1")
    assert digits.class_names == tuple("0123456789")
    # The values 0..16 of the source, by hand: 0, 8 and 16 become 0, 128 (127.5) and 255.
    source = load_digits()
    for value, expected in ((0, 0), (8, 128), (16, 255)):
        assert set(digits.images[..., 0][source.images == value]) == {expected}
    assert np.array_equal(digits.labels, source.target)


def test_arrays_are_read_only():
    digits = sources.load("digits")
    with pytest.raises(ValueError, match="read-only"):
        digits.images[0] = 0


def test_wrong_shapes_are_refused():
    images = np.zeros((3, 2, 2, 1), np.uint8)
    with pytest.raises(ValueError, match=r"\(2,\)"):
        ImageDataset(name="x", version="1", images=images, labels=np.zeros(2, np.int32),
                     is_test=np.zeros(3, bool), class_names=("a",))  # fmt: skip


def test_unknown_name_lists_the_names():
    with pytest.raises(UserError, match="cifar10, digits"):
        sources.load("cifar11")


@needs_cifar10
def test_cifar10(cifar10):
    assert cifar10.images.shape == (60000, 32, 32, 3) and cifar10.images.dtype == np.uint8
    assert cifar10.labels.shape == (60000,) and cifar10.labels.dtype == np.int32
    assert not cifar10.is_test[:50000].any() and cifar10.is_test[50000:].all()
    assert np.bincount(cifar10.labels[:50000]).tolist() == [5000] * 10
    assert np.bincount(cifar10.labels[50000:]).tolist() == [1000] * 10
    assert cifar10.class_names[0] == "airplane" and cifar10.class_names[9] == "truck"
    assert (cifar10.name, cifar10.version) == ("cifar10", "3.0.2")


@needs_cifar10
def test_cifar10_rows_are_those_of_tfds(cifar10):
    """Row by row against TFDS' own decoding, at both ends of both parts."""
    import tensorflow_datasets as tfds

    source = tfds.data_source("cifar10", data_dir=TFDS_DIR, download=False)
    for part, first, rows in (("train", 0, (0, 1, 49999)), ("test", 50000, (0, 9999))):
        for row in rows:
            expected = source[part][row]
            assert cifar10.labels[first + row] == expected["label"]
            # OpenCV, which TFDS takes where there is one, may round otherwise than Pillow.
            difference = cifar10.images[first + row].astype(int) - expected["image"]
            assert np.abs(difference).mean() < 2


@needs_cifar10
def test_reading_imports_no_tensorflow():
    """In a process of its own, also where TensorFlow is installed; one image of each part."""
    code = (
        "import sys\n"
        "from dsh_jax.data.images import built_in as sources\n"
        "whole = sources._decode_all\n"
        "class First(list):\n"
        "    def __getitems__(self, rows): return self\n"
        "sources._decode_all = lambda source, *rest: whole(First([source[0]]), *rest)\n"
        f"data = sources.load('cifar10', {str(TFDS_DIR)!r})\n"
        "print(len(data.labels), 'tensorflow' in sys.modules)"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.stdout.strip() == "2 False", done.stderr


def test_empty_data_dir_names_the_command(tmp_path):
    directory = tmp_path / "it's $HOME"
    with pytest.raises(UserError, match="not prepared in") as caught:
        sources.load("cifar10", str(directory))
    message = str(caught.value)
    assert str(directory) in message and not directory.exists()
    # The command, read as a shell and then Python read it, means this directory.
    install, python = message.split("`")[1].split(" && ")
    assert install == "pip install tensorflow importlib_resources"
    shown = python.replace("python -c", "printf %s", 1)
    code = subprocess.run(["sh", "-c", shown], capture_output=True, text=True, check=True).stdout
    expression = code.split(";")[1].strip().removesuffix(".download_and_prepare()")

    class Recorder:
        @staticmethod
        def builder(name, data_dir, file_format):
            return name, data_dir, file_format

    made = eval(expression, {"tfds": Recorder})
    assert made == ("cifar10", str(directory), "array_record")


def test_tensorflow_without_all_it_needs_names_the_command(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    here = tfds.builder("cifar10", data_dir=str(tmp_path))
    monkeypatch.setattr(tfds, "builder", lambda name, **options: here)
    monkeypatch.setattr(
        sources.importlib.util, "find_spec", lambda name: name if name == "tensorflow" else None
    )
    with pytest.raises(UserError, match="needs the package importlib_resources.*array_record"):
        sources.load("cifar10")


def test_failed_download_names_the_reason_and_the_command(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    here = tfds.builder("cifar10", data_dir=str(tmp_path))

    def fail():
        raise ConnectionError("no route to host\nand more lines")

    monkeypatch.setattr(here, "download_and_prepare", fail)
    monkeypatch.setattr(tfds, "builder", lambda name, **options: here)
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: name)
    with pytest.raises(UserError, match="no route to host.*array_record") as caught:
        sources.load("cifar10")
    assert "\n" not in str(caught.value)


@pytest.fixture
def copied(tmp_path):
    """A copy of the prepared files to damage."""
    folder = tmp_path / "cifar10" / "3.0.2"
    folder.mkdir(parents=True)
    for source in (TFDS_DIR / "cifar10" / "3.0.2").iterdir():
        shutil.copyfile(source, folder / source.name)
    return folder


def damage_cut(folder):
    os.truncate(next(folder.glob("*-train*")), 4_000_000)


def damage_empty(folder):
    os.truncate(next(folder.glob("*-train*")), 0)


def damage_bytes(folder):
    with open(next(folder.glob("*-train*")), "r+b") as file:
        file.seek(4_000_000)
        file.write(b"\0" * 100)


def damage_missing(folder):
    next(folder.glob("*-train*")).unlink()


def damage_info(folder):
    os.truncate(folder / "dataset_info.json", 100)


def damage_format(folder):
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))


@needs_cifar10
@pytest.mark.parametrize(
    "damage",
    [damage_cut, damage_empty, damage_bytes, damage_missing, damage_info, damage_format],
)
def test_damaged_files_are_reported_with_their_path(copied, tmp_path, damage):
    damage(copied)
    with pytest.raises(UserError, match="array_record") as caught:
        sources.load("cifar10", str(tmp_path))
    assert f"cifar10 in {tmp_path}" in str(caught.value)


def encoded(image, kind):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


class Records(list):
    """A TFDS data source in memory."""

    def __getitems__(self, rows):
        return [self[row] for row in rows]


def test_decoding_png_is_exact():
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3)).astype(np.uint8)
    records = Records({"image": encoded(x, "PNG"), "label": i} for i, x in enumerate(images))
    decoded, labels = sources._decode_all(records, "train", (4, 4, 3))
    assert np.array_equal(decoded, images) and labels.tolist() == [0, 1, 2, 3, 4]


CUT_JPEG = encoded(np.zeros((64, 64, 3), np.uint8), "JPEG")[:99]


@pytest.mark.parametrize("bad", [b"no image", CUT_JPEG])
def test_an_image_that_cannot_be_decoded_is_named(bad):
    good = encoded(np.zeros((64, 64, 3), np.uint8), "PNG")
    records = Records([{"image": good, "label": 0}, {"image": bad, "label": 0}])
    with pytest.raises(ValueError, match="image 1 of test cannot be decoded"):
        sources._decode_all(records, "test", (64, 64, 3))


def test_an_image_of_another_shape_is_named():
    records = Records([{"image": encoded(np.zeros((5, 4, 3), np.uint8), "PNG"), "label": 0}])
    with pytest.raises(ValueError, match=r"image 0 of train has shape \(5, 4, 3\)"):
        sources._decode_all(records, "train", (4, 4, 3))
