"""`search.py export`: a program that runs without this package, and what is refused."""

import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace

import jax
import numpy as np
import pytest

from dsh_jax import encoder_files, export, hamming, load_encoder
from dsh_jax.data.documents.vocabulary import Vocabulary
from dsh_jax.data.signature import ImageInputs, Signature, WordInputs
from dsh_jax.encoder import Encoder
from dsh_jax.export_onnx import on_any_platform
from dsh_jax.search import arguments, command
from tests.commands import ROOT, only_sentence, run
from tests.messages import one_sentence

MODEL = ROOT / "examples/digits_16bit.safetensors"
PAGE = (ROOT / "docs/export.md").read_text()
LIMIT = "jax_traceback_in_locations_limit"
SIZES = (1, 7, 100)


def call(*options):
    parsed = arguments.parse([str(option) for option in options])
    return command.VERBS[parsed.verb](parsed)


@pytest.fixture(scope="module")
def encoder():
    return load_encoder(MODEL)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "mine.stablehlo"
    assert call("export", "--model", MODEL, "--to", "stablehlo", "--output", path) == 0
    return path


def parts(path):
    with zipfile.ZipFile(path) as file:
        assert sorted(file.namelist()) == [export.ABOUT, export.PROGRAM]
        return json.loads(file.read(export.ABOUT)), file.read(export.PROGRAM)


def assert_same_bits(encoder, images, codes, relaxed):
    """Bits are equal except where a logit is within 1e-5 of the threshold."""
    wanted = encoder.relaxed(images).astype(np.float64)
    np.testing.assert_allclose(relaxed, wanted, atol=1e-5)
    assert (codes.dtype, relaxed.dtype) == (np.uint8, np.float32)
    bits = hamming.unpack(codes, encoder.num_bits)
    differs = bits != hamming.unpack(encoder.encode(images), encoder.num_bits)
    assert (np.abs(np.log(wanted) - np.log1p(-wanted))[differs] < 1e-5).all()
    np.testing.assert_array_equal(bits, relaxed > 0.5)


def test_the_documented_script_runs_without_this_package(exported, encoder, tmp_path):
    block, _ = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    # The first size by the script itself, the others by its function.
    code = "import importlib.util\nassert importlib.util.find_spec('dsh_jax') is None\n" + block
    code += "".join(f"np.savez('{n}.npz', *encode(np.load('{n}.npy')))\n" for n in SIZES[1:])
    code += "assert not [name for name in sys.modules if 'dsh' in name or 'flax' in name]\n"
    (tmp_path / "encode.py").write_text(code)
    rng = np.random.default_rng(0)
    images = {n: rng.integers(0, 256, (n, 8, 8, 1), np.uint8) for n in SIZES}
    for n in SIZES:
        np.save(tmp_path / f"{n}.npy", images[n])
    environment = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-I", "encode.py", exported, f"{SIZES[0]}.npy", "first.npz"],
        cwd=tmp_path, env=environment | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first = np.load(tmp_path / "first.npz")
    assert str(first["fingerprint"]) == encoder.fingerprint
    assert_same_bits(encoder, images[SIZES[0]], first["codes"], first["relaxed"])
    for n in SIZES[1:]:
        found = np.load(tmp_path / f"{n}.npz")
        assert_same_bits(encoder, images[n], found["arr_0"], found["arr_1"])


def test_a_program_says_what_goes_in_and_comes_out(exported, encoder, tmp_path):
    about, program = parts(exported)
    assert about["fingerprint"] == encoder.fingerprint
    assert (about["num_bits"], about["threshold"]) == (16, 0.5)
    assert about["preprocessing"]["width"] == 8 and about["preprocessing"]["mode"] == "L"
    found = jax.export.deserialize(program)
    assert found.platforms == export.PLATFORMS == tuple(about["jax"]["platforms"])
    for said, avals in (("inputs", found.in_avals), ("outputs", found.out_avals)):
        assert [(str(a.dtype), [str(size) for size in a.shape]) for a in avals] == [
            (entry["dtype"], [str(size) for size in entry["shape"]]) for entry in about[said]
        ]
    assert b".py" not in program and str(ROOT).encode() not in program  # no paths of this machine
    export.export_model(MODEL, "stablehlo", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == exported.read_bytes()


def of_network(shape, **changes):
    """An encoder of random parameters; to compile their own initialisation takes seconds."""
    description, _ = encoder_files.load(MODEL)
    names = tuple("abcdefghij")
    fields = {**description.network, "representation.width": 8, "num_bits": 20}
    signature = Signature(ImageInputs(*shape), "single", names)
    description = replace(description, network=fields | changes, signature=signature)
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1].key == "var":
            return np.ones(leaf.shape, leaf.dtype)
        return rng.normal(0, 0.1, leaf.shape).astype(leaf.dtype)

    shapes = jax.eval_shape(description.build().init, jax.random.key(0))
    variables = jax.tree_util.tree_map_with_path(draw, shapes)
    return Encoder(description, variables, jax.local_devices()[:1])


@pytest.mark.parametrize(
    "changes",
    [
        {"representation.name": "whitened", "representation.features": 0,
         "representation.dropout": 0.0, "mirrored": True, "head": "graded",
         "graded.middle": -2.2},
        {"representation.name": "alexnet", "representation.spectral_norm": True},
        {"representation.name": "wide_resnet", "representation.norm": "group"},
    ],  # fmt: skip
    ids=lambda changes: changes["representation.name"],
)
def test_every_network_can_be_exported(changes, tmp_path):
    encoder = of_network((8, 8, 3), **{"representation.depth": 10} | changes)
    export.save_stablehlo(encoder, tmp_path / "program")
    program = jax.export.deserialize(parts(tmp_path / "program")[1])
    assert [str(aval.shape) for aval in program.out_avals] == ["(batch, 3)", "(batch, 20)"]
    if "mirrored" not in changes:
        return  # to compile them takes seconds
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    codes, relaxed = program.call(images)
    assert 0.01 < np.min(relaxed) < 0.5 < np.max(relaxed) < 0.99
    assert_same_bits(encoder, images, np.asarray(codes), np.asarray(relaxed))


def test_a_function_for_any_platform_has_the_default_branches(encoder):
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
    plain = on_any_platform(lambda images: {"a": encoder.relaxed_of({"image": images})})
    with_all = jax.make_jaxpr(lambda images: encoder.relaxed_of({"image": images}))(images)
    assert "platform_index" in str(with_all)
    traced = jax.make_jaxpr(plain)(images)
    assert not any(name in str(traced) for name in ("platform_index", "cond[", "custom_vjp"))
    found = jax.jit(plain)(images)["a"]
    np.testing.assert_allclose(found, encoder.relaxed(images), atol=1e-5)


def test_onnx_runtime_gets_the_same_bits(encoder, tmp_path):
    pytest.importorskip("jax2onnx")  # the extra "export"; its import takes a minute
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "mine.onnx"
    assert call("export", "--model", MODEL, "--to", "onnx", "--output", path) == 0
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["about"])
    assert about["fingerprint"] == encoder.fingerprint
    for n in SIZES:
        images = np.random.default_rng(n).integers(0, 256, (n, 8, 8, 1), np.uint8)
        assert_same_bits(encoder, images, *session.run(["codes", "relaxed"], {"images": images}))


def test_safetensors_is_the_encoder_file(tmp_path, encoder):
    path = tmp_path / "mine.safetensors"
    assert call("export", "--model", MODEL, "--to", "safetensors", "--output", path) == 0
    assert load_encoder(path).fingerprint == encoder.fingerprint
    assert path.stat().st_size == MODEL.stat().st_size


@pytest.mark.parametrize(
    ("model", "output", "words"),
    [
        ("none.safetensors", "x", ("none.safetensors", "train.py")),
        (MODEL, "none/x", ("none", "no folder")),
        (MODEL, "folder", ("folder", "name a file")),
        ("mine.safetensors", "mine.safetensors", ("mine.safetensors", "itself")),
        ("damaged", "x", ("damaged", "copy it again")),
    ],
)
def test_what_is_refused(model, output, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "mine.safetensors").write_bytes(MODEL.read_bytes())
    (tmp_path / "damaged").write_bytes(MODEL.read_bytes()[:5000])
    before = sorted(tmp_path.rglob("*"))
    options = ["export", "--model", model, "--to", "stablehlo", "--output", output]
    one_sentence(lambda: call(*options), *words)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "mine.safetensors").read_bytes() == MODEL.read_bytes()


def test_a_refusal_ends_with_2(tmp_path):
    options = ["export", "--model", MODEL, "--output", tmp_path / "x", "--to"]
    _, stderr = run("search.py", *options, "pickle", expected=2)
    assert "'pickle'" in only_sentence(2, stderr)
    assert list(tmp_path.iterdir()) == []


def test_documents_and_other_networks_are_refused(tmp_path, encoder, monkeypatch):
    path, limit = tmp_path / "x", jax.config.values[LIMIT]
    words = Vocabulary(("crude", "oil"), np.ones(2))

    class Words:
        method, signature = "shttm", Signature(WordInputs(words), "multi", ("a",))

    for save in (export.save_stablehlo, export.save_onnx):
        one_sentence(lambda save=save: save(Words(), path), "documents", "safetensors")

    for changes in ({"mirrored": True}, {"shifted": 1}, {"dtype": "bfloat16"}):
        other = of_network((8, 8, 1), **changes)
        one_sentence(lambda other=other: export.save_onnx(other, path), "mirrored", "bfloat16")

    def fails(_):
        raise ValueError("a dimension is unknown\nand more")

    monkeypatch.setattr(encoder, "relaxed_of", fails)
    one_sentence(lambda: export.save_stablehlo(encoder, path), "a dimension is unknown)")
    assert list(tmp_path.iterdir()) == []
    assert jax.config.values[LIMIT] == limit


def test_nothing_half_written_is_left_where_writing_fails(tmp_path, encoder, monkeypatch):
    path = tmp_path / "x"
    path.write_text("before")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    one_sentence(lambda: export.save_stablehlo(encoder, path), path, "No space left")
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_without_the_packages_that_write(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for to, words in (("stablehlo", "pip install flatbuffers"), ("onnx", "'.[export]'")):
        one_sentence(lambda to=to: export.export_model(MODEL, to, tmp_path / "x"), words)
    assert list(tmp_path.iterdir()) == []


def test_another_form_is_an_argument_error(tmp_path):
    with pytest.raises(ValueError, match="'pickle'"):
        export.export_model(MODEL, "pickle", tmp_path / "x")
