"""The benchmark's files: what is read, its split, methods on it, and files with mistakes."""

import json

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from dsh_jax import load_encoder
from dsh_jax.data.documents.vdsh import load_vdsh, split_of
from dsh_jax.data.documents.weights import WeightInputs
from dsh_jax.data.signature import Signature, from_dict
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.training.loop import train
from dsh_jax.training.preview import preview
from tests import vdsh_files
from tests.commands import refused
from tests.messages import one_sentence


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return vdsh_files.write(tmp_path_factory.mktemp("vdsh") / "made.tfidf.mat")


def test_a_file_is_read_row_by_row(path):
    made, content = load_vdsh(path), vdsh_files.content()
    rows = np.concatenate([content[part].toarray() for part in ("train", "cv", "test")])
    labels = np.concatenate([content[f"gnd_{part}"] for part in ("train", "cv", "test")])
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(
        made.tfidf.toarray(), np.divide(rows, lengths, where=lengths > 0, out=0 * rows), rtol=1e-6
    )
    np.testing.assert_array_equal(made.counts.toarray(), rows > 0)
    np.testing.assert_array_equal(made.labels, labels.argmax(axis=1))
    assert made.class_names == ("0", "1", "2") and not made.multi_label
    assert made.name == "made.tfidf" and len(made.version) == 12
    assert made.names[:2] == ("train/0", "train/1") and made.names[-1] == "test/23"
    assert made.is_test.sum() == 24 and made.is_test[-24:].all()
    assert made.inputs == WeightInputs(30)
    assert "30 words; 1 documents have none" in made.remarks()[0]
    taken = made.take(np.array([0, 7]))
    assert set(taken) == {"word", "tfidf", "count"} and not taken["tfidf"][1].any()
    assert load_vdsh(path.parent).version == made.version


def test_the_split_is_the_benchmarks(path):
    made = load_vdsh(path)
    split = split_of(made)
    assert split.protocol == "vdsh, 24/119/119" and split.dataset == "made.tfidf"
    train = np.setdiff1d(np.arange(120), 7)  # which has no words
    for ids, wanted in (
        (split.labeled, train), (split.database, train), (split.unlabeled, []),
        (split.validation, np.arange(120, 150)), (split.query, np.arange(150, 174)),
    ):  # fmt: skip
        np.testing.assert_array_equal(ids, wanted)


def test_rows_without_labels_are_not_judged(tmp_path):
    content = vdsh_files.content(multi=True)
    for part, rows in (("train", [3, 7]), ("cv", [0]), ("test", [5])):
        content[f"gnd_{part}"][rows] = 0
    split = split_of(load_vdsh(vdsh_files.write(tmp_path / "a.tfidf.mat", **content)))
    assert split.unlabeled.tolist() == [3] and split.protocol == "vdsh, 23/118/118"
    assert 120 not in split.validation and 155 not in split.query


def test_other_layouts_are_the_same_data(path, tmp_path):
    wanted, content = load_vdsh(path), vdsh_files.content()
    parts = ("train", "cv", "test")
    labels = {f"gnd_{part}": content[f"gnd_{part}"] for part in parts}
    layouts = {
        "dense": {part: content[part].toarray() for part in parts},
        "sparse labels": {key: scipy.sparse.csr_matrix(1.0 * x) for key, x in labels.items()},
        "logical labels": {key: x.astype(bool) for key, x in labels.items()},
        "a column of ids": {key: x.argmax(axis=1)[:, None] for key, x in labels.items()},
        "a row of ids": {key: x.argmax(axis=1).astype(float) for key, x in labels.items()},
        "other rows": {part: content[part].tocsr() for part in parts},
    }
    for name, changed in layouts.items():
        made = load_vdsh(vdsh_files.write(tmp_path / f"{name}.mat", **changed))
        np.testing.assert_array_equal(made.tfidf.toarray(), wanted.tfidf.toarray(), name)
        np.testing.assert_array_equal(made.labels, wanted.labels, name)
        assert split_of(made).protocol == split_of(wanted).protocol
    several = vdsh_files.content(multi=True)
    made = load_vdsh(vdsh_files.write(tmp_path / "multi.mat", **several))
    assert made.labels.dtype == np.uint8 and made.multi_label
    np.testing.assert_array_equal(made.labels[:120], several["gnd_train"])


def broken(**changed):
    content = vdsh_files.content()
    return {key: change(content[key]) for key, change in changed.items()}


def with_value(value):
    def change(matrix):
        dense = matrix.toarray().astype(float)
        dense[5, 3] = value
        return scipy.sparse.csc_matrix(dense)

    return change


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"gnd_cv": None}, ["has no key 'gnd_cv'"]),
        ({"train": None}, ["has no key 'train'"]),
        (broken(train=with_value(np.nan)), ["NaN or infinity in row 5 of train"]),
        (broken(cv=with_value(np.inf)), ["NaN or infinity in row 5 of cv"]),
        (broken(test=with_value(-0.5)), ["a negative weight in row 5 of test"]),
        (broken(test=lambda x: x[:, :20]), ["train rows of 30 words, but test rows of 20"]),
        (broken(gnd_test=lambda x: x[:20]), ["24 rows of test, but gnd_test is of shape (20, 3)"]),
        (broken(gnd_cv=lambda x: x[:, :2]), ["train rows of 3 labels, but cv rows of 2"]),
        (broken(gnd_train=lambda x: 2 * x), ["gnd_train with other values than 0 and 1"]),
        (broken(gnd_train=lambda x: x * 0.5), ["gnd_train with other values than 0 and 1"]),
        ({"train": "words"}, ["train of shape (1,)", "not rows of numbers"]),
        ({"train": {"a": 1}}, ["train of shape (1, 1)", "not rows of numbers"]),
    ],
)  # fmt: skip
def test_a_file_that_is_refused(tmp_path, changed, parts):
    path = vdsh_files.write(tmp_path / "a.tfidf.mat", **changed)
    one_sentence(lambda: load_vdsh(path), path, *parts)


def test_files_that_are_none(path, tmp_path):
    one_sentence(lambda: load_vdsh(tmp_path / "none.mat"), "none.mat cannot be read (No such file")
    one_sentence(lambda: load_vdsh(tmp_path), "holds 0 files that end in .tfidf.mat")
    whole = path.read_bytes()
    places = vdsh_files.content()["train"].indices[:4].astype(np.int32)
    for name, content in (
        ("empty", b""), ("text", b"words"), ("cut", whole[:2000]), ("tail", whole[:-9]),
        ("beyond", whole.replace(places.tobytes(), (places + 10**6).tobytes())),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(content)
        one_sentence(lambda name=name: load_vdsh(tmp_path / name), name, "cannot be read")
    (tmp_path / "new").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(99))
    one_sentence(lambda: load_vdsh(tmp_path / "new"), "MATLAB's version 7.3", "'-v7'")
    no_labels = np.zeros((24, 3), np.uint8)
    made = load_vdsh(vdsh_files.write(tmp_path / "a.mat", gnd_test=no_labels))
    one_sentence(lambda: split_of(made), "has 0 test rows with words and labels")


def test_rows_of_an_encoder():
    inputs, rows = WeightInputs(3), [[3.0, 0, 4], [0, 0, 0]]
    wanted = {"word": [[0, 2], [0, 0]], "tfidf": [[0.6, 0.8], [0, 0]], "count": [[1, 1], [0, 0]]}
    forms = (np.array(rows), scipy.sparse.csr_array(rows), scipy.sparse.csc_matrix(rows), rows,
             [scipy.sparse.csr_array([row]) for row in rows])  # fmt: skip
    for items in forms:
        found = inputs.rows(items)
        for name, first in wanted.items():
            np.testing.assert_allclose(found[name][:, :2], first, rtol=1e-6)
            assert not found[name][:, 2:].any()
    for wrong in (["some words"], "some words", [[1, 2]], np.zeros((2, 4)), [[1, np.nan, 0]],
                  [[1, -1.0, 0]], [[1, 1e300, 0]], [None], 3.0):  # fmt: skip
        with pytest.raises(ValueError, match="tf-idf weights"):
            inputs.matrix(wrong)


@pytest.mark.parametrize("method", ["shttm", "shttm_neural", "vdsh"])
def test_methods_learn_on_it(path, tmp_path, method):
    run = tmp_path / "run"
    train(vdsh_files.config(path, method), run, {})
    result = evaluate_workdir(run)
    assert result["protocol"] == "vdsh, 24/119/119" and result["dataset"] == "made.tfidf"
    assert result["database_without_words"] == 0 and 0 < result["precision_at_100"] <= 1
    assert result["map"] > (0.6 if method == "shttm" else 0.3)
    description = json.loads((run / "signature.json").read_text())["signature"]
    assert description["kind"] == "tf-idf rows" and description["inputs"] == {"num_words": 30}

    load_encoder(run).save(tmp_path / "encoder")
    encoder = load_encoder(tmp_path / "encoder")
    with np.load(run / "codes.npz") as codes:
        wanted, ids = codes["query_codes"], codes["query_ids"] - 150
    rows = vdsh_files.content()["test"].tocsr()[ids]
    for items in (rows, rows.toarray(), list(rows.toarray()), iter(rows.toarray())):
        np.testing.assert_array_equal(encoder.encode(items, batch_size=10), wanted)
    np.testing.assert_array_equal(encoder.encode(rows.toarray()[0]), wanted[:1])
    for wrong, words in (
        (rows[:, :9], "rows of 30 .*not of 9"), ([], "no items"), (rows[:0], "no items"),
        (["words"], "rows of 30 tf-idf weights"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            encoder.encode(wrong)


def test_baselines(path, tmp_path):
    run = tmp_path / "run"
    train(vdsh_files.config(path), run, {})
    for baseline in ("itq", "lsh", "topics"):
        assert evaluate_workdir(run, baseline=baseline)["map"] > 0.3
    with pytest.raises(UserError, match="sparse features"):
        evaluate_workdir(run, baseline="cosine")


def test_a_dry_run(path, tmp_path):
    config = vdsh_files.config(path, num_bits=6)
    text, problems = preview(config, tmp_path / "run")
    assert problems == [] and "vocabulary  30 words" in text
    assert [line.split() for line in text.splitlines() if line.startswith("documents")] == [
        ["documents", "174", "24", "119", "0", "30", "119"]
    ]
    config.num_bits = 99
    (problem,) = preview(config, tmp_path / "run")[1]
    assert problem.startswith("num_bits is 99, but 119 training documents with words")


def test_the_command_refuses_in_one_sentence(tmp_path):
    path = vdsh_files.write(tmp_path / "a.tfidf.mat", cv=None)
    sentence = refused(
        tmp_path, tmp_path / "run", "train.py", "--config=configs/shttm_newsgroups_32bit.py",
        "--config.data.source=vdsh", f"--config.data.data_dir={path}",
    )  # fmt: skip
    assert "has no key 'cv'" in sentence


def test_a_signature_comes_back():
    signature = Signature(WeightInputs(7), "multi", ("a",))
    assert from_dict(signature.to_dict()) == signature and signature.num_words == 7
    for wrong in ({"num_words": 0}, {"num_words": 1.5}, {"num_words": 2**40}, {}, {"words": []}):
        with pytest.raises(ValueError, match="num_words|signature"):
            from_dict(signature.to_dict() | {"inputs": wrong})
