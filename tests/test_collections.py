"""Reading documents from JSONL, and the errors that all collections share."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from dsh_jax.data.documents import collections as documents
from dsh_jax.data.documents.collections import load_documents
from dsh_jax.errors import UserError
from tests.collection_files import (
    error_of,
    pack,
    same,
    write_lines,
    write_newsgroups,
    write_reuters,
)

# JSONL

A = {"id": "a", "text": "one word", "tags": ["y", "x"]}
B = {"id": 2, "text": "", "tags": [], "test": True}
C = {"id": "c", "text": "\u00fc", "tags": ["x", "x"], "test": False, "more": 1}


def test_jsonl(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", A, "", B, "  ", C, "")
    made = load_documents("jsonl", path)
    assert made.name == "jsonl"
    assert made.names == ("a", "2", "c") and made.texts == ("one word", "", "\u00fc")
    assert made.class_names == ("x", "y")
    assert made.labels.dtype == np.uint8 and made.labels.tolist() == [[1, 1], [0, 0], [1, 0]]
    assert made.is_test.dtype == bool and made.is_test.tolist() == [False, True, False]
    # The version goes with the content and not with the name.
    twin = load_documents("jsonl", path.rename(tmp_path / "b.jsonl"))
    assert same(twin, made) and len(made.version) == 12
    other = load_documents("jsonl", write_lines(tmp_path / "c.jsonl", A, B))
    assert other.version != made.version


def test_jsonl_without_any_tag(tmp_path):
    made = load_documents("jsonl", write_lines(tmp_path / "a.jsonl", B))
    assert made.labels.shape == (1, 0) and made.class_names == ()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"id": "b", "text"', "is not JSON (expecting ':' delimiter, in column 19): "),
        ("[" * 100_000, "is not JSON (it is nested too deeply"),
        ("[1]", "is not a JSON object"),
        ('"words"', "is not a JSON object"),
        ({"text": "b", "tags": []}, 'has no "id": '),
        ({"id": "b", "tags": []}, 'has no "text": '),
        ({"id": "b", "text": "b", "tag": ["x"]}, 'has no "tags" but "tag": '),
        ({"id": "b", "Text": "b", "tags": ["x"]}, 'has no "text" but "Text": '),
        (B | {"id": None}, 'has no "id": '),
        (B | {"id": True}, 'has "id" true, not a string or an integer: '),
        (B | {"id": 1.5}, 'has "id" 1.5, not a string'),
        (B | {"text": 3}, 'has "text" 3, not a string: '),
        (B | {"tags": "x"}, 'has "tags" "x", not a list of strings'),
        (B | {"tags": ["x", 3]}, 'has "tags" ["x", 3], not a list of strings'),
        (B | {"test": 1}, 'has "test" 1, not true or false: '),
        (B | {"id": "a"}, "repeats the id 'a' of line 1: "),
        (B | {"id": "2"}, "repeats the id '2' of line 3: "),
    ],
)
def test_a_wrong_line_is_reported_with_file_and_line(tmp_path, line, problem):
    path = write_lines(tmp_path / "a.jsonl", A, "", B | {"id": 2}, line)
    start = f"Line 4 of {path} {problem}"
    assert error_of("jsonl", path, 'write lines like {"id": "a1"').startswith(start)


def test_a_line_that_is_not_utf8_is_reported(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(json.dumps(A).encode() + b'\n{"id": "b", "text": "\xfc", "tags": []}\n')
    error_of("jsonl", path, f"Line 2 of {path} is not in UTF-8 (byte 0xFC in column 22)")


def test_what_may_be_missing_is_none(tmp_path):
    rows = [A, {"id": "b", "text": "two"}, {"id": "c", "text": "", "tags": None, "test": None}]
    path = write_lines(tmp_path / "a.jsonl", *rows)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    made = load_documents("jsonl", path)
    assert made.names == ("a", "b", "c") and made.is_test.tolist() == [False] * 3
    assert made.labels.tolist() == [[1, 1], [0, 0], [0, 0]]


def test_all_wrong_lines_are_in_one_error(tmp_path):
    rows = [A, *({"id": number} for number in range(14)), A | {"id": "b"}, A]
    path = write_lines(tmp_path / "a.jsonl", *rows)
    with pytest.raises(UserError) as caught:
        load_documents("jsonl", path)
    lines = str(caught.value).split("\n")
    assert lines[0].startswith(f"15 lines of {path} are wrong: write lines like ")
    assert lines[1:11] == [f'  line {number} has no "text"' for number in range(2, 12)]
    assert lines[11:] == ["  and 5 more"]
    assert caught.value.mistakes[-1] == "line 17 repeats the id 'a' of line 1"


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_is_reported(tmp_path, content):
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    error_of("jsonl", path, f"{path} holds no documents", "set data.data_dir to a file")


# All of them

FIXES = {
    "reuters21578": "https://archive.ics.uci.edu/dataset/137",
    "20newsgroups": "http://qwone.com/~jason/20Newsgroups/ or https://archive.ics.uci.edu/dataset/113",
    "jsonl": 'like {"id": "a1", "text": "some words", "tags": ["x", "y"], "test": false}',
    "csv": "a CSV file with one document a row and the columns text",
    "parquet": "a Parquet file with one document a row and the columns text",
    "text_files": "a folder of .txt and .md files",
}


def test_unknown_name_lists_the_names(tmp_path):
    error_of("reuters", tmp_path, "'reuters'", "reuters21578, 20newsgroups, jsonl")
    assert documents.NAMES == tuple(FIXES)


@pytest.mark.parametrize("name", FIXES)
def test_no_path_and_no_such_path(name, tmp_path):
    error_of(name, None, "data.data_dir is not set: ", "set data.data_dir to", FIXES[name])
    missing = tmp_path / "none"
    error_of(name, missing, f"{missing} cannot be read", "set data.data_dir to", FIXES[name])


def test_an_empty_folder(tmp_path):
    error_of("reuters21578", tmp_path, f"{tmp_path} holds 0 of the 22", FIXES["reuters21578"])
    error_of("20newsgroups", tmp_path, f"{tmp_path} holds messages of 0", FIXES["20newsgroups"])
    error_of("jsonl", tmp_path, f"{tmp_path} cannot be read", FIXES["jsonl"])


def damage_cut(content):
    return content[: len(content) // 2]


def damage_cut_at_the_end(content):
    return content[:-1]


def damage_checksum(content):
    return content[:-8] + bytes(4) + content[-4:]


def damage_tar(content):
    return gzip.compress(gzip.decompress(content)[:700])


def damage_no_gzip(content):
    return b"words" * 1000


def damage_bytes(content):
    middle = len(content) // 2
    return content[:middle] + b"\xff" * 50 + content[middle + 50 :]


def damage_empty(content):
    return b""


DAMAGES = [
    damage_cut,
    damage_cut_at_the_end,
    damage_checksum,
    damage_tar,
    damage_no_gzip,
    damage_bytes,
    damage_empty,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_archive_is_reported(tmp_path, damage):
    for name, file, folder in (
        ("reuters21578", "reuters21578.tar.gz", write_reuters(tmp_path / "reuters")),
        ("20newsgroups", "20_newsgroups.tar.gz", write_newsgroups(tmp_path / "news")),
    ):
        archive = pack(folder, tmp_path / file, "root")
        archive.write_bytes(damage(archive.read_bytes()))
        for path in (archive, tmp_path):
            error_of(name, path, f"{archive} cannot be read (", FIXES[name])


def test_an_archive_without_the_files(tmp_path):
    archive = tmp_path / "a.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        entry = tarfile.TarInfo("group/words.txt")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"words"))
        for folder in ("group/1", "reut2-000.sgm"):
            entry = tarfile.TarInfo(folder)
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
    error_of("reuters21578", archive, f"{archive} holds 0 of the 22", FIXES["reuters21578"])
    error_of("20newsgroups", archive, f"{archive} holds messages of 0", FIXES["20newsgroups"])


def test_home_is_understood(tmp_path, monkeypatch):
    write_lines(tmp_path / "a.jsonl", A)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_documents("jsonl", Path("~/a.jsonl")).names == ("a",)


def test_arrays_are_read_only(tmp_path):
    made = load_documents("jsonl", write_lines(tmp_path / "a.jsonl", A))
    for array in (made.labels, made.is_test):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize(("names", "texts"), [(1, 2), (2, 1), (3, 3)])
def test_names_and_texts_that_do_not_fit_are_refused(names, texts):
    with pytest.raises(ValueError, match=r"\d (names|texts) of 2 items"):
        documents.Documents(
            name="x",
            version="1",
            labels=np.zeros(2, np.int32),
            is_test=np.zeros(2, bool),
            class_names=("a",),
            names=("n",) * names,
            texts=("t",) * texts,
        )
