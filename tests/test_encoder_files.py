"""Encoder files: what is read back is what was written, and damage is named in one sentence."""

import json
import shutil
import struct
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from configs import smoke
from dsh_jax import encoder_files, load_encoder
from dsh_jax.data.signature import ImageInputs, Signature
from dsh_jax.devices import pick_devices
from dsh_jax.encoder import Encoder, UnreadableItems
from dsh_jax.errors import UserError
from dsh_jax.training.loop import train
from tests import corpus

ROOT = Path(__file__).parents[1]
SIGNATURE = Signature(ImageInputs(8, 8, 1), "single", tuple("0123456789"))
EXAMPLE = ROOT / "examples/digits_16bit.safetensors"
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1)).astype(np.uint8)


def made(**representation):
    """An encoder of images that nobody has trained."""
    config = smoke.get_config()
    config.representation.update(representation)
    description = encoder_files.describe(config, SIGNATURE, "synthetic")
    variables = jax.jit(description.build().init)(jax.random.key(0))
    return Encoder(description, jax.tree.map(np.asarray, variables), pick_devices(1, {}))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small encoder file."""
    path = tmp_path_factory.mktemp("saved") / "encoder.safetensors"
    made().save(path)
    return path


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory):
    """Trained workdirs, by what they encode, each with items."""
    folder = tmp_path_factory.mktemp("runs")
    images = smoke.get_config()
    images.update(gan=False, triplets="real")
    train(images, folder / "images", {})
    texts = [row["text"] for row in corpus.lines(20)]
    made = {"images": (folder / "images", PIXELS)}
    path = corpus.write(folder / "corpus.jsonl")
    for method in ("shttm", "shttm_neural"):
        train(corpus.config(path, method), folder / method, {})
        made[method] = folder / method, texts
    return made


def refused(path, *parts):
    """The one sentence with which a path is refused."""
    with pytest.raises(UserError) as caught:
        load_encoder(path)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and ". " not in message, message
    assert str(path) in message
    for part in parts:
        assert part in message, message
    return message


def header_of(content):
    """(header as a dict, tensors as bytes) of a safetensors file."""
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def with_metadata(content, **changed):
    """The file with other metadata; None leaves an entry out."""
    header, tensors = header_of(content)
    metadata = header["__metadata__"] | changed
    header["__metadata__"] = {name: text for name, text in metadata.items() if text is not None}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


@pytest.mark.parametrize("items", ["images", "shttm", "shttm_neural"])
def test_a_file_encodes_as_the_workdir_does(workdirs, tmp_path, items):
    workdir, items = workdirs[items]
    encoder = load_encoder(workdir)
    encoder.save(tmp_path / "new/encoder.safetensors")
    shutil.move(tmp_path / "new/encoder.safetensors", tmp_path / "moved")
    assert not list((tmp_path / "new").iterdir())
    again = load_encoder(tmp_path / "moved")
    np.testing.assert_array_equal(again.encode(items), encoder.encode(items))
    np.testing.assert_array_equal(again.relaxed(items), encoder.relaxed(items))
    assert again.encode(items).shape == (len(items), encoder.num_bytes)
    assert again.has_classifier == encoder.has_classifier
    for name in ("fingerprint", "class_names", "method", "codes", "num_bits"):
        assert getattr(again, name) == getattr(encoder, name)
    again.save(tmp_path / "third")
    assert load_encoder(tmp_path / "third").fingerprint == encoder.fingerprint


def test_scalars_and_slashes_in_names_come_back(tmp_path):
    encoder = made(spectral_norm=True)  # Flax keeps "Conv_0/kernel/sigma" of no dimension
    encoder.save(tmp_path / "encoder")
    again = load_encoder(tmp_path / "encoder")
    assert again.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(again.relaxed(PIXELS), encoder.relaxed(PIXELS))


def test_other_parameters_or_classes_have_another_fingerprint(saved):
    description, variables = encoder_files.load(saved)
    fingerprint = encoder_files.fingerprint(description, variables)
    kernel = variables["hash"]["params"]["Dense_0"]["kernel"]
    kernel[0, 0] = np.nextafter(kernel[0, 0], np.float32(9))
    assert encoder_files.fingerprint(description, variables) != fingerprint
    kernel[0, 0] = np.nextafter(kernel[0, 0], np.float32(-9))
    assert encoder_files.fingerprint(description, variables) == fingerprint


@pytest.mark.parametrize("share", [0.0, 0.00005, 0.01, 0.3, 0.7, 0.99, 0.9999])
def test_a_file_that_is_cut_off(saved, tmp_path, share):
    content = saved.read_bytes()
    path = tmp_path / "cut.safetensors"
    path.write_bytes(content[: int(share * len(content))])
    refused(path, "copy it again")


def test_no_changed_byte_goes_unnoticed(saved, tmp_path):
    """Bytes all over the file, and in each of its parts."""
    content = saved.read_bytes()
    fingerprint = load_encoder(saved).fingerprint
    (size,) = struct.unpack("<Q", content[:8])
    metadata = content.index(b"__metadata__")
    description = content.index(b"description", metadata)
    rng = np.random.default_rng(0)
    positions = [
        *rng.integers(0, 8, 4),  # length of the header
        *rng.integers(8, 8 + size, 10),
        *(metadata + rng.integers(0, 12, 3)),
        *(description + rng.integers(0, 600, 8)),
        *rng.integers(8 + size, len(content), 10),
        8, 7 + size, 8 + size, len(content) - 1, content.index(b"F32"),
    ]  # fmt: skip
    assert len(positions) == 40
    path = tmp_path / "changed.safetensors"
    noticed = 0
    for position in positions:
        changed = bytearray(content)
        changed[position] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        try:
            assert load_encoder(path).fingerprint == fingerprint
        except UserError:
            refused(path)
            noticed += 1
    assert noticed >= 38  # a space after the header may become a tab


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"format": "3"}, "format '3', and this version of dsh_jax reads formats 1 and 2"),
        ({"format": "2"}, "it has two formats"),
        ({"format": None}, "format None"),
        ({"kind": "another"}, "not an encoder file of dsh_jax"),
        ({"kind": None}, "not an encoder file of dsh_jax"),
        ({"fingerprint": None}, "damaged or was edited"),
        ({"fingerprint": "0" * 64}, "its fingerprint does not fit"),
        ({"description": None}, "damaged or was edited"),
        ({"description": "{}"}, "damaged or was edited (format None"),
        ({"description": "[1, 2]"}, "damaged or was edited"),
        ({"description": "no\nJSON"}, "damaged or was edited"),
        ({"description": "[" * 100_000}, "damaged or was edited"),
    ],
)
def test_other_metadata(saved, tmp_path, changed, words):
    path = tmp_path / "other.safetensors"
    path.write_bytes(with_metadata(saved.read_bytes(), **changed))
    refused(path, words)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(method="none"),
        lambda d: d.update(batch_size=0),
        lambda d: d["network"].update(num_bits="16"),
        lambda d: d["network"].pop("num_bits"),
        lambda d: d["network"].update(num_bits=17),
        lambda d: d["signature"].update(kind="documents", inputs={"words": ["a"], "idf": [1.0]}),
        lambda d: d["signature"].update(labels="none"),
        lambda d: d["signature"]["inputs"].update(height=10**6),
    ],
)
def test_a_description_of_another_network_with_a_fitting_fingerprint(saved, tmp_path, change):
    description, variables = encoder_files.load(saved)
    content = description.to_dict()
    change(content)
    path = tmp_path / "other.safetensors"
    try:
        encoder_files.save(path, encoder_files.from_dict(content), variables)
    except ValueError:  # it cannot even be written
        path.write_bytes(with_metadata(saved.read_bytes(), description=json.dumps(content)))
    refused(path)


def test_what_is_no_encoder_file(tmp_path):
    path = tmp_path / "other"
    for content in (b"", b"x", b"no safetensors at all" * 100, b"\x89PNG\r\n\x1a\n" * 20,
                    b"\0" * 1000, b"\xff" * 1000):  # fmt: skip
        path.write_bytes(content)
        refused(path, "cannot be read as an encoder file")
    safetensors.numpy.save_file({"a": np.zeros(3)}, path)
    refused(path, "not an encoder file of dsh_jax")
    safetensors.numpy.save_file({}, path, {"kind": "something else"})
    refused(path, "not an encoder file of dsh_jax")
    header = b'{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'  # NumPy has no such type
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    refused(path, "not an encoder file of dsh_jax")


def test_names_that_lie_inside_each_other(saved, tmp_path):
    header, tensors = header_of(saved.read_bytes())
    name = next(name for name in header if name != "__metadata__")
    path = tmp_path / "other"
    leaves = safetensors.numpy.load(saved.read_bytes()) | {f"{name}/inside": np.zeros(1)}
    safetensors.numpy.save_file(leaves, path, header["__metadata__"])
    refused(path, "damaged or was edited")


def test_folders_and_missing_paths(workdirs, tmp_path):
    refused(tmp_path / "none.safetensors", "there is no workdir and no encoder file")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "has no signature.json")
    workdir, _ = workdirs["images"]
    (tmp_path / "half").mkdir()
    shutil.copy(workdir / "signature.json", tmp_path / "half")
    refused(tmp_path / "half", "holds no checkpoint yet")
    with pytest.raises(ValueError, match="'best' or 'latest', not 'newest'"):
        load_encoder(workdir, checkpoint="newest")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "\udcff" + text,
        lambda text: "[" * 100_000,
        lambda text: text.replace('"num_bits": 16', '"num_bits": 32'),
        lambda text: text.replace('"format": 2', '"format": 1'),
        lambda text: text.replace('"split_seed": 0', '"split_seed": 1'),
        lambda text: text.replace('"origin"', '"from"'),
        lambda text: text.replace('"checksum"', '"sum"'),
    ],
)
def test_a_damaged_signature(workdirs, tmp_path, damage):
    text = (workdirs["images"][0] / "signature.json").read_text()
    assert damage(text) != text
    (tmp_path / "signature.json").write_text(damage(text), errors="surrogateescape")
    refused(tmp_path, "signature.json")


def test_where_nothing_can_be_written(tmp_path):
    encoder = made()
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", tmp_path / "file/below"):
        with pytest.raises(UserError, match="cannot be written") as caught:
            encoder.save(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_home_is_where_both_look(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    made().save("~/encoder.safetensors")
    assert (tmp_path / "encoder.safetensors").is_file()
    load_encoder("~/encoder.safetensors")


def test_an_image_without_pixels_has_no_code():
    with pytest.raises(UnreadableItems, match="it has no pixels") as caught:
        load_encoder(EXAMPLE).encode([Image.new("L", (0, 8)), Image.new("L", (8, 8))])
    np.testing.assert_array_equal(caught.value.positions, [1])


def test_names_of_files_in_arrays_and_with_tildes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encoder = load_encoder(EXAMPLE)
    for name, pixels in zip(("~a.png", "b.png"), PIXELS, strict=False):
        Image.fromarray(pixels[..., 0]).save(name)
    codes = encoder.encode(PIXELS[:2])
    np.testing.assert_array_equal(encoder.encode(["~a.png", "b.png"]), codes)
    np.testing.assert_array_equal(encoder.encode(np.array(["~a.png", "b.png"])), codes)
    with pytest.raises(UnreadableItems, match="no such file") as caught:
        encoder.encode(["~a.png", "~c.png", Path("b.png")], batch_size=1)
    np.testing.assert_array_equal(caught.value.outputs, codes)
    np.testing.assert_array_equal(caught.value.positions, [0, 2])
    with pytest.raises(UnreadableItems) as caught:
        encoder.probabilities("none.png")
    assert caught.value.outputs.shape == (0, 10)
