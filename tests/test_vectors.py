"""Vectors as data: files and labels in every form, normalisation, and what is refused."""

import os

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsh_jax.data.items import check_vectors
from dsh_jax.data.signature import Signature, from_dict
from dsh_jax.data.vectors.columns import open_columns
from dsh_jax.data.vectors.dataset import load_vectors
from dsh_jax.data.vectors.inputs import VectorInputs, fit_inputs
from dsh_jax.data.vectors.labels import read_labels
from dsh_jax.data.vectors.rows import RowFile, blocks
from dsh_jax.errors import UserError

RNG = np.random.default_rng(0)
VECTORS = RNG.standard_normal((7, 3)).astype(np.float32)
LABELS = np.array([0, 2, 0, -1, 2, 0, 2])


def write(folder, **arrays):
    folder.mkdir(exist_ok=True)
    for name, array in {"vectors": VECTORS, "labels": LABELS, **arrays}.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def load(root, cache=None, limit=1.0, normalise="none", **columns):
    return load_vectors(root, columns, normalise=normalise, cache=cache or root.parent / "cache",
                        memory_limit_gb=limit)  # fmt: skip


def refused(root, **options):
    with pytest.raises(UserError) as caught:
        load(root, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence


@settings(max_examples=30, deadline=None)
@given(
    ids=st.lists(st.integers(0, 19), max_size=40), width=st.integers(1, 5),
    dtype=st.sampled_from(["<f2", "<f4", "<f8", ">f4"]),
)  # fmt: skip
def test_rows_of_a_file_are_those_of_the_array(tmp_path_factory, ids, width, dtype):
    array = RNG.standard_normal((20, width)).astype(dtype)
    path = tmp_path_factory.mktemp("rows") / "x.npy"
    np.save(path, array)
    rows = RowFile(path)
    found = rows[np.array(ids, np.int64)]
    assert found.dtype == array.dtype and len(rows) == 20
    np.testing.assert_array_equal(found, array[ids])
    np.testing.assert_array_equal(rows.in_memory(), array.astype(np.float32))


def test_blocks_are_all_rows_once_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr("dsh_jax.data.vectors.rows._BLOCK_BYTES", 4 * 3 * 2)  # two rows
    np.save(tmp_path / "x.npy", VECTORS)
    found = list(blocks(RowFile(tmp_path / "x.npy")))
    assert [first for first, _ in found] == [0, 2, 4, 6]
    np.testing.assert_array_equal(np.concatenate([b for _, b in found]), VECTORS)
    ids = np.array([6, 1, 1])
    np.testing.assert_array_equal(
        np.concatenate([b for _, b in blocks(VECTORS, ids)]), VECTORS[ids]
    )


@pytest.mark.parametrize("change", ["append", "cut", "touch", "replace", "remove"])
def test_a_file_that_changes_is_noticed(tmp_path, change):
    path = tmp_path / "x.npy"
    np.save(path, VECTORS)
    rows = RowFile(path)
    assert len(rows[np.array([1])]) == 1
    if change == "remove":
        path.unlink()
    elif change == "replace":
        np.save(tmp_path / "y.npy", VECTORS)
        (tmp_path / "y.npy").replace(path)
    elif change == "touch":
        os.utime(path, ns=(0, 0))
    else:
        os.truncate(path, path.stat().st_size + (8 if change == "append" else -8))
    with pytest.raises(UserError, match="x.npy was changed or replaced while it was in use; "):
        rows[np.array([6])]


def forms(folder):
    """The same data as a folder, as .npz, as Parquet and as a .npy file with others beside it."""
    names = [f"item {row}" for row in range(7)]
    write(folder, test=np.arange(7) == 6)
    (folder / "ids.txt").write_text("".join(f"{name}\n" for name in names))
    np.savez(folder / "all.npz", vectors=VECTORS, labels=LABELS, ids=names, test=np.arange(7) == 6)
    table = {
        "vectors": pyarrow.array(VECTORS.tolist(), pyarrow.list_(pyarrow.float32(), 3)),
        "labels": [None if label < 0 else int(label) for label in LABELS],
        "ids": names, "test": [row == 6 for row in range(7)],
    }  # fmt: skip
    pyarrow.parquet.write_table(pyarrow.table(table), folder / "all.parquet", row_group_size=3)
    beside = {"labels": "labels.npy", "ids": "ids.txt", "test": "test.npy"}
    return {"folder": (folder, {}), "npz": (folder / "all.npz", {}),
            "parquet": (folder / "all.parquet", {}),
            "npy": (folder / "vectors.npy", beside)}  # fmt: skip


def test_every_form_gives_the_same_data(tmp_path):
    found = {name: load(root, tmp_path / "cache", **columns)
             for name, (root, columns) in forms(tmp_path / "data").items()}  # fmt: skip
    for dataset in found.values():
        np.testing.assert_array_equal(dataset.vectors, VECTORS)
        np.testing.assert_array_equal(dataset.labels, [0, 1, 0, -1, 1, 0, 1])
        assert dataset.class_names == ("0", "2") and dataset.names[3] == "item 3"
        np.testing.assert_array_equal(np.flatnonzero(dataset.is_test), [6])
    assert len({dataset.version for dataset in found.values()}) == 1


def test_vectors_beyond_the_limit_stay_in_their_file(tmp_path):
    root = write(tmp_path / "data")
    file, memory = load(root, limit=0.0), load(root)
    assert isinstance(file.vectors, RowFile) and isinstance(memory.vectors, np.ndarray)
    ids = np.array([5, 0, 0])
    for dataset in (file, memory):
        taken = dataset.fit(np.arange(7), None).take(ids)["vector"]
        assert taken.dtype == np.float32
        np.testing.assert_array_equal(taken, VECTORS[ids])
    assert "read from the file, row by row" in file.storage and file.version == memory.version


@pytest.mark.parametrize(
    ("values", "names", "labels", "classes"),
    [
        (np.array([3, -1, 3, 0], np.int8), (), [1, -1, 1, 0], ("0", "3")),
        (np.array([1, -1, 0]), ("cat", "dog", "owl"), [1, -1, 0], ("cat", "dog")),
        (np.array([[1, 0, 0], [0, 0, 0], [0, 0, 1]]), (), [0, -1, 1], ("0", "2")),
        (np.array([[1, 1], [0, 0]], bool), ("a", "b"), [[1, 1], [0, 0]], ("a", "b")),
        (np.array(["dog", "", "cat"]), (), [1, -1, 0], ("cat", "dog")),
        (["x;y", None, " y "], (), [[1, 1], [0, 0], [0, 1]], ("x", "y")),
        ([["x"], [], None], (), [0, -1, -1], ("x",)),
        ([[0, 7], [7]], (), [[1, 1], [0, 1]], ("0", "7")),
        ([10, None, 9], (), [1, -1, 0], ("9", "10")),
    ],
)  # fmt: skip
def test_labels_in_every_form(values, names, labels, classes):
    found, named = read_labels(values, names, "labels")
    np.testing.assert_array_equal(found, labels)
    assert named == classes and found.dtype == (np.int32 if found.ndim == 1 else np.uint8)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.array([0.5]), "are float64 of shape 1"), (np.array([0, -2]), "have -2 in row 1"),
        (np.array([[0, 2]]), "values other than 0 and 1"), (["a", 3], "integers and names"),
        ([["a"], [1.5]], "have [1.5] in row 1"), (["a", -3], "have -3 in row 1"),
    ],
)  # fmt: skip
def test_labels_in_no_form(values, says):
    with pytest.raises(UserError) as caught:
        read_labels(values, (), "labels")
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_names_of_fewer_classes_than_labels():
    with pytest.raises(UserError, match="have the class 2, but there are 2 class names"):
        read_labels(LABELS, ("a", "b"), "labels")


def test_what_is_refused(tmp_path):
    bad = VECTORS.copy()
    bad[[1, 4], 2] = np.nan, np.inf
    assert "in 2 of its vectors" in (found := refused(write(tmp_path / "nan", vectors=bad)))
    assert "(rows 1, 4, from 0)" in found
    huge = VECTORS.astype(np.float64)
    huge[2] = 1e300
    assert "(rows 2, from 0)" in refused(write(tmp_path / "huge", vectors=huge))
    twice = write(tmp_path / "twice", ids=np.array([5, 6, 7, 8, 9, 7, 1]))
    assert "have '7' in row 2 and again in row 5" in refused(twice)
    longer = write(tmp_path / "longer", labels=np.zeros(9, int))
    assert refused(longer) == "there are 9 labels, but 7 vectors; give one to each vector."
    ints = write(tmp_path / "ints", vectors=np.ones((7, 2), int))
    assert "numbers of type int64" in refused(ints)
    assert "has shape (7,)" in refused(write(tmp_path / "flat", vectors=np.ones(7)))
    by_column = write(tmp_path / "columns", vectors=np.asfortranarray(VECTORS))
    assert "stored column by column" in refused(by_column)
    root = write(tmp_path / "fine", test=np.arange(7))
    assert "are not all True or False" in refused(root)
    assert "has no column 'tags' (it has: labels, test, vectors)" in refused(root, labels="tags")
    assert "set data.root to a file" in refused(tmp_path / "none")
    assert "no vector of" in refused(write(tmp_path / "unlabeled", labels=np.full(7, -1)))
    (tmp_path / "x.csv").write_text("a,b\n")
    assert "does not end in .npy, .npz" in refused(tmp_path / "x.csv")


@pytest.mark.parametrize("ending", [".npy", ".npz", ".parquet"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"\x93NUMPY\x01\x00"])
def test_files_that_are_damaged(tmp_path, ending, content):
    (tmp_path / f"x{ending}").write_bytes(content)
    assert "cannot be read" in refused(tmp_path / f"x{ending}")


def test_arrays_of_objects_are_never_unpickled(tmp_path):
    objects = np.array([print, 1], object)
    root = write(tmp_path / "data", labels=objects)
    assert "without objects" in refused(root)
    np.savez(tmp_path / "x.npz", vectors=VECTORS, labels=objects)
    assert "without objects" in refused(tmp_path / "x.npz")


def parquet(path, vectors, **columns):
    pyarrow.parquet.write_table(pyarrow.table({"vectors": vectors, **columns}), path)
    return path


def test_parquet_columns_that_are_no_vectors(tmp_path):
    path = tmp_path / "x.parquet"
    assert "row 1 of" in (found := refused(parquet(path, [[1.0, 2.0], [1.0]], labels=[0, 1])))
    assert "has 1 numbers as 'vectors', and rows before it have 2" in found
    assert "row 1 of" in refused(parquet(path, [[1.0], None], labels=[0, 1]))
    assert "is of type int64; vectors are lists" in refused(parquet(path, [1, 2], labels=[0, 1]))
    assert "(rows 0, from 0)" in refused(parquet(path, [[1.0, None], [1.0, 2.0]], labels=[0, 1]))
    assert not list((tmp_path / "cache").glob("*.tmp"))
    lists = parquet(path, [[1.0], [2.0]], labels=[["x", "y"], ["y"]])
    np.testing.assert_array_equal(load(lists).labels, [[1, 1], [0, 1]])


def test_a_parquet_file_is_converted_once(tmp_path):
    path = parquet(tmp_path / "x.parquet", [[1.0], [2.0]], labels=[0, 1])
    columns = [open_columns(path, tmp_path / "cache") for _ in range(2)]
    made = [c.matrix("vectors") for c in columns]
    (file,) = (tmp_path / "cache").glob("*.npy")
    before = file.stat().st_mtime_ns
    assert made[1][np.array([1])].tolist() == [[2.0]] and file.stat().st_mtime_ns == before


def test_normalisation_by_hand():
    vectors = np.array([[3.0, 4.0], [0.0, 0.0], [6.0, 4.0]], np.float32)
    plain, l2 = (fit_inputs(vectors, np.arange(3), kind) for kind in ("none", "l2"))
    assert plain.rows(vectors)["vector"].tolist() == vectors.tolist()
    np.testing.assert_allclose(l2.rows(vectors[:2])["vector"], [[0.6, 0.8], [0.0, 0.0]])
    # Lengths whose squares are beyond float32.
    odd = l2.rows(np.array([[3e30, 4e30], [3e-40, 4e-40], [3, -4]]))["vector"]
    np.testing.assert_allclose(odd, [[0.6, 0.8], [0.6, 0.8], [0.6, -0.8]], rtol=1e-4)
    # Of rows 0 and 2 alone: means 4.5 and 4, deviations 1.5 and 0, which counts as 1.
    standard = fit_inputs(vectors, np.array([0, 2]), "standardise")
    assert (standard.mean, standard.deviation) == ((4.5, 4.0), (1.5, 1.0))
    np.testing.assert_allclose(standard.rows(vectors)["vector"], [[-1, 0], [-3, -4], [1, 0]])


def test_moments_are_fitted_in_blocks_without_cancelling(monkeypatch):
    monkeypatch.setattr("dsh_jax.data.vectors.rows._BLOCK_BYTES", 4 * 2 * 10)
    vectors = (RNG.standard_normal((97, 2)) * [1, 3] + [1e4, -2]).astype(np.float32)
    ids = RNG.permutation(97)[:60]
    inputs = fit_inputs(vectors, ids, "standardise")
    exact = vectors[ids].astype(np.float64)
    np.testing.assert_allclose(inputs.mean, exact.mean(0), rtol=1e-6)
    np.testing.assert_allclose(inputs.deviation, exact.std(0), rtol=1e-5)


def test_a_signature_comes_back_to_the_last_bit():
    inputs = fit_inputs(VECTORS, np.arange(7), "standardise")
    for each in (inputs, VectorInputs(3, "l2")):
        signature = Signature(each, "single", ("a", "b"))
        assert from_dict(signature.to_dict()) == signature


@pytest.mark.parametrize(
    "inputs",
    [{"width": 0}, {"width": True}, {"width": 2, "normalise": "l1"},
     {"width": 2, "normalise": "standardise", "mean": (0.0, 0.0)},
     {"width": 1, "mean": (1.0,), "deviation": (1.0,)},
     {"width": 1, "normalise": "standardise", "mean": (0.0,), "deviation": (0.0,)},
     {"width": 1, "normalise": "standardise", "mean": (float("nan"),), "deviation": (1.0,)}],
)  # fmt: skip
def test_inputs_that_cannot_be(inputs):
    with pytest.raises(ValueError):
        VectorInputs(**inputs)


@pytest.mark.parametrize(
    ("vectors", "says"),
    [(np.ones((2, 4), np.float32), "floats [n, 3], got float32 (2, 4)"),
     (np.ones((2, 3), int), "floats [n, 3], got int64 (2, 3)"),
     ([np.ones(3), np.ones(2)], "floats [n, 3], got object (2,)"),
     (np.array([[0.0, 0.0, 0.0], [0.0, np.nan, 0.0]]), "1 of them hold NaN"),
     (np.array([[0.0, 0.0, 1e300]]), "the first at position 5")],
)  # fmt: skip
def test_new_vectors_that_do_not_fit(vectors, says):
    with pytest.raises(ValueError) as caught:
        check_vectors(vectors, VectorInputs(3), first=5)
    assert says in str(caught.value)
