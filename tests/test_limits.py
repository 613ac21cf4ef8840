"""Archives that inflate to far more than they say, and vocabularies of tags that are too large."""

import gzip
import io
import json
import tarfile
import tracemalloc

import numpy as np
import pytest

from dsh_jax.data import labels
from dsh_jax.data.documents import collections
from dsh_jax.data.images.dataset import ImageDataset
from dsh_jax.data.images.listing import list_images
from dsh_jax.data.labels import as_labels, multi_hot
from dsh_jax.errors import UserError
from tests.collection_files import error_of, pack, write_lines, write_newsgroups, write_reuters

ARCHIVES = {"reuters21578": "reuters21578.tar.gz", "20newsgroups": "20_newsgroups.tar.gz"}
WRITERS = {"reuters21578": write_reuters, "20newsgroups": write_newsgroups}


@pytest.fixture
def small_limit(monkeypatch):
    monkeypatch.setattr(collections, "MOST_INFLATED", 2**20)


def write_bomb(path, megabytes):
    """A .tar.gz with one member of zeros, a thousandth of its size."""
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("a/1")
        member.size = megabytes * 2**20
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    return path


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path, small_limit, name):
    path = write_bomb(tmp_path / ARCHIVES[name], 64)
    tracemalloc.start()
    error_of(name, path, path, "inflates to more than 1,048,576 bytes")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 2**20


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_bomb_behind_the_last_member(tmp_path, small_limit, name):
    path = pack(WRITERS[name](tmp_path / "whole"), tmp_path / ARCHIVES[name], "x")
    with path.open("ab") as file:
        file.write(gzip.compress(bytes(2**22)))
    error_of(name, path, "inflates to more than")


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_sparse_member_is_refused(tmp_path, name):
    """It says that it has 2^40 bytes, and holds none of them."""
    member = tarfile.TarInfo("a/1")
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[483:495] = tarfile.itn(2**40, 12, tarfile.GNU_FORMAT)
    header[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(header))[0]
    path = tmp_path / ARCHIVES[name]
    path.write_bytes(gzip.compress(bytes(header) + bytes(1024)))
    error_of(name, path, "sparse")


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_folder_has_the_same_limit(tmp_path, small_limit, name):
    folder = WRITERS[name](tmp_path / "whole")
    large = folder / ("reut2-003.sgm" if name == "reuters21578" else "group.03/101")
    with large.open("ab") as file:
        file.truncate(2**21)
    error_of(name, folder, "more than the limit of")


def test_members_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(collections, "MOST_MEMBERS", 5)
    path = pack(write_newsgroups(tmp_path / "whole"), tmp_path / "20_newsgroups.tar.gz", "x")
    error_of("20newsgroups", path, "more than 5 members")


def test_names_of_members_are_no_paths(tmp_path):
    """Nothing is written, whatever the members are called, and odd numbers are ignored."""
    source = write_newsgroups(tmp_path / "whole")
    path = tmp_path / "20_newsgroups.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for file in sorted(source.rglob("*/*")):
            tar.add(file, f"../../{file.parent.name}/{file.name}")
        for odd in ("../../escaped/x", "/group.00/" + "9" * 5000, "group.00/\u0661"):
            tar.addfile(tarfile.TarInfo(odd))
    before = sorted(tmp_path.rglob("*"))
    found = collections.load_documents("20newsgroups", path)
    assert len(found) == 20 and sorted(tmp_path.rglob("*")) == before


def test_too_many_tags_are_refused_before_they_are_allocated(tmp_path):
    """40,000 documents with a tag each of its own: 1.6 billion labels."""
    lines = [{"id": n, "text": "words", "tags": [f"t{n}", "x"]} for n in range(40_000)]
    path = write_lines(tmp_path / "a.jsonl", *lines)
    tracemalloc.start()
    error_of("jsonl", path, "40,000 items with 40,001 different tags", "1,600,040,000", "limit")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**28


def test_too_many_labels_of_images(tmp_path, monkeypatch):
    monkeypatch.setattr(labels, "MOST_ENTRIES", 5)
    for number in range(3):
        (tmp_path / f"{number}.png").touch()
    rows = [{"path": f"{n}.png", "labels": ["x", f"{n}"]} for n in range(3)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match="3 items with 4 different tags make 12 labels"):
        list_images(tmp_path / "a.jsonl")


def test_single_labels_need_no_matrix(monkeypatch):
    monkeypatch.setattr(labels, "MOST_ENTRIES", 5)
    ids = as_labels([["a"], ["c"], ["b", "b"]], ["a", "b", "c"])
    assert ids.dtype == np.int32 and ids.tolist() == [0, 2, 1]


def test_multi_hot_by_hand():
    found = multi_hot([["a", "c", "a"], [], ["b"]], ["a", "b", "c"])
    assert found.dtype == np.uint8 and found.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert np.array_equal(as_labels([["a", "c", "a"], [], ["b"]], ["a", "b", "c"]), found)


def test_class_vectors_of_many_classes_need_no_square_matrix():
    n = 40_000
    dataset = ImageDataset(
        name="x", version="1", images=np.zeros((n, 1, 1, 1), np.uint8),
        labels=np.arange(n, dtype=np.int32), is_test=np.zeros(n, bool),
        class_names=tuple(map(str, range(n))),
    )  # fmt: skip
    tracemalloc.start()
    found = dataset.multi_hot(np.array([3, 39_999]))
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert found.dtype == np.float32 and found.sum(axis=1).tolist() == [1, 1]
    assert found.argmax(axis=1).tolist() == [3, 39_999]
