"""An index of vectors: filled from a file, asked with a vector, and what is refused."""

import jax
import numpy as np
import pytest

from configs import features, smoke
from dsh_jax.data.signature import Signature
from dsh_jax.data.vectors.inputs import VectorInputs
from dsh_jax.devices import pick_devices
from dsh_jax.encoder import Encoder
from dsh_jax.encoder_files import describe
from dsh_jax.errors import UserError
from dsh_jax.search import arguments, command
from dsh_jax.search.index import open_index
from dsh_jax.search.vector_files import of_vectors

VECTORS = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """Untrained; its codes are what matters here."""
    config = smoke.shrink(features.get_config())
    config.update(num_bits=8, encode_batch_size=16)
    description = describe(config, Signature(VectorInputs(4, "l2"), "single", ("a", "b")), "made")
    variables = jax.tree.map(np.asarray, jax.jit(description.build().init)(jax.random.key(0)))
    made = Encoder(description, variables, pick_devices(1, {}))
    path = tmp_path_factory.mktemp("encoder") / "made.safetensors"
    made.save(path)
    return made, path


def run(*options):
    given = arguments.parse([str(option) for option in options])
    return command.VERBS[given.verb](given)


def test_a_folder_of_vectors_is_indexed_and_found(encoder, tmp_path, capsys):
    made, model = encoder
    folder = tmp_path / "data"
    folder.mkdir()
    np.save(folder / "vectors.npy", VECTORS)
    np.save(folder / "ids.npy", [f"v{row}" for row in range(20)])
    np.save(folder / "labels.npy", np.arange(20) % 3 - 1)
    (folder / "paths.txt").write_text("a.png\n" * 20)
    at = tmp_path / "index"
    run("index", "--vectors", folder, "--model", model, "--index", at, "--batch", 7, "--once")
    with open_index(str(at)) as opened:
        item = opened.get(["v4"])[0]
        assert item.code == made.encode(VECTORS[4]).tobytes()
        assert item.labels == ("0",) and item.path == str(folder / "a.png")
        assert opened.get(["v3"])[0].labels == ()
    np.save(tmp_path / "one.npy", VECTORS[4])
    capsys.readouterr()
    run("query", "--index", at, "--vector", tmp_path / "one.npy", "--radius", 0)
    assert "  0  v4  0  " in capsys.readouterr().out
    # One vector changed, one gone, and all others as they are.
    changed = VECTORS[:19].copy()
    changed[2] *= -1
    np.save(folder / "vectors.npy", changed)
    for name in ("ids", "labels"):
        np.save(folder / f"{name}.npy", np.load(folder / f"{name}.npy")[:19])
    (folder / "paths.txt").write_text("a.png\n" * 19)
    run("index", "--vectors", folder, "--model", model, "--index", at, "--once")
    assert "0 added, 1 changed, 18 unchanged, 1 dropped" in capsys.readouterr().out


def test_a_file_alone_has_rows_for_ids(tmp_path):
    np.save(tmp_path / "x.npy", VECTORS)
    source = of_vectors(tmp_path / "x.npy")
    assert [entry.id for entry in source.entries[:2]] == ["0", "1"] and source.kind == "vectors"


@pytest.mark.parametrize(
    ("array", "says"),
    [(VECTORS[:, :3], r"vectors must be floats \[n, 4\], got float32 \(20, 3\)"),
     (VECTORS * np.nan, "NaN, .* in 20 of its vectors"), (VECTORS[0], "has shape")],
)  # fmt: skip
def test_vectors_of_another_width_or_with_nan_are_refused(encoder, tmp_path, array, says):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(UserError, match=says):
        run("index", "--vectors", tmp_path / "x.npy", "--model", encoder[1],
            "--index", tmp_path / "index", "--batch", 7, "--once")  # fmt: skip
    assert not (tmp_path / "index").exists()


def test_a_query_is_one_vector_and_the_model_takes_vectors(encoder, tmp_path):
    at = tmp_path / "index"
    np.save(tmp_path / "x.npy", VECTORS)
    run("index", "--vectors", tmp_path / "x.npy", "--model", encoder[1], "--index", at, "--once")
    with pytest.raises(UserError, match="a query is one vector"):
        run("query", "--index", at, "--vector", tmp_path / "x.npy")
    with pytest.raises(UserError, match="cannot be read"):
        run("query", "--index", at, "--vector", tmp_path / "none.npy")
    with pytest.raises(UserError, match="the model encodes vectors, and a query is of documents"):
        run("query", "--index", at, "--text", "words")
