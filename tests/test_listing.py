"""Listing folders, CSV and JSONL files of images, and the errors for invalid ones."""

import json
import os
import unicodedata

import numpy as np
import pytest

from dsh_jax.data.images.listing import list_images
from dsh_jax.errors import UserError
from tests.image_files import touch
from tests.messages import one_sentence

# Folders


def test_folder(tmp_path):
    touch(
        tmp_path, "dog/2.JPG", "dog/10.png", "cat/deep/er/1.webp", "cat/.hidden.jpg", ".git/x.jpg"
    )
    listing = list_images(tmp_path)
    assert listing.names == ("cat/deep/er/1.webp", "dog/10.png", "dog/2.JPG")
    assert listing.paths == tuple(tmp_path / name for name in listing.names)
    assert listing.class_names == ("cat", "dog")
    assert listing.labels.tolist() == [0, 1, 1] and listing.labels.dtype == np.int32
    assert listing.is_test.tolist() == [False] * 3
    assert listing.skipped == () and not listing.roles and len(listing) == 3


def test_every_ending(tmp_path):
    endings = "jpg jpeg png bmp gif webp tif tiff ppm pgm".split()
    touch(tmp_path, *(f"a/1.{ending}" for ending in endings))
    assert len(list_images(tmp_path)) == 10


def test_images_without_a_label_leave_the_others_single(tmp_path):
    touch(tmp_path, "b/1.jpg", "a/1.jpg", "unlabeled/x/1.jpg")
    listing = list_images(tmp_path)
    assert listing.class_names == ("a", "b")
    assert listing.labels.tolist() == [0, 1, -1] and listing.labels.dtype == np.int32


def test_left_out_files_are_reported(tmp_path):
    touch(tmp_path, "loose.jpg", "a/1.jpg", "a/notes.txt", "labels.csv")
    os.symlink(tmp_path / "nowhere.jpg", tmp_path / "a" / "gone.jpg")
    skipped = list_images(tmp_path).skipped
    names = ["a/gone.jpg", "a/notes.txt", "labels.csv", "loose.jpg"]
    assert [line.split(": ")[0] for line in skipped] == names
    assert "not in a class folder" in skipped[3]


def test_an_empty_class_is_kept_for_a_warning(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/notes.txt")
    assert list_images(tmp_path).class_names == ("a", "b")


def test_classes_that_differ_only_in_case_are_named(tmp_path):
    touch(tmp_path, "Cat/1.jpg", "cat/1.jpg")
    one_sentence(lambda: list_images(tmp_path), "'Cat'", "'cat'", tmp_path)


def test_classes_that_differ_only_in_composition_are_named(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    touch(tmp_path, f"{composed}/1.jpg", f"{decomposed}/1.jpg")
    one_sentence(lambda: list_images(tmp_path), "composed")


@pytest.mark.parametrize("names", [(), ("1.jpg",), ("unlabeled/1.jpg",)])
def test_a_folder_without_classes(tmp_path, names):
    one_sentence(lambda: list_images(touch(tmp_path, *names)), tmp_path, "sub-folder")


@pytest.mark.parametrize("name", ["missing", "labels.txt", "labels.csv"])
def test_neither_folder_nor_file_of_labels(tmp_path, name):
    if name.endswith("txt"):
        touch(tmp_path, name)
    one_sentence(lambda: list_images(tmp_path / name), tmp_path / name, "data.root")


def test_links_are_followed_once_and_loops_end(tmp_path):
    root, other = tmp_path / "root", tmp_path / "other"
    touch(root, "a/1.jpg", "b/1.jpg")
    touch(other, "c/2.jpg")
    os.symlink(other / "c", root / "linked")  # a class that lies elsewhere
    os.symlink(root / "a", root / "a" / "loop")
    os.symlink(tmp_path, root / "b" / "up")  # holds the root itself
    os.symlink(root / "b", root / "a" / "again")  # listed where it is, not here
    os.symlink(root, root / "whole")
    os.symlink("self", root / "self")
    listing = list_images(root)
    assert listing.names == ("a/1.jpg", "b/1.jpg", "linked/2.jpg")
    assert listing.class_names == ("a", "b", "linked")
    skipped = [line.split(": ")[0] for line in listing.skipped]
    assert skipped == ["a/again", "a/loop", "b/up", "self", "whole"]


def test_an_unreadable_folder_is_reported(tmp_path, monkeypatch):
    touch(tmp_path, "a/1.jpg", "a/shut/2.jpg")
    scandir = os.scandir

    def refuse(place):  # as for a folder of mode 0, which root may read all the same
        if place.name == "shut":
            raise PermissionError(13, "Permission denied")
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse)
    assert list_images(tmp_path).skipped == ("a/shut: Permission denied",)


# Files of labels


def write(path, *lines, end="\n", encoding="utf-8"):
    path.write_bytes(end.join([*lines, ""]).encode(encoding))
    return path


def test_csv(tmp_path):
    touch(tmp_path, "a/1.jpg", "2, or so.png", "3.jpg", "deep/er.gif")
    file = write(
        tmp_path / "labels.csv",
        "path,labels,test",
        "a/1.jpg,sea; sky;sea,0",
        '"2, or so.png",sky,1',
        "",
        "3.jpg,,",
    )
    listing = list_images(file)
    assert listing.source == file
    assert listing.names == ("a/1.jpg", "2, or so.png", "3.jpg")
    assert listing.paths[0] == tmp_path / "a/1.jpg"
    assert listing.class_names == ("sea", "sky")
    assert listing.labels.tolist() == [[1, 1], [0, 1], [0, 0]] and listing.labels.dtype == np.uint8
    assert listing.is_test.tolist() == [False, True, False] and listing.is_test.dtype == bool
    assert listing.skipped == ("deep/er.gif: labels.csv has no line for it",)


def test_one_label_each_gives_class_ids(tmp_path):
    touch(tmp_path, "1.jpg", "2.jpg")
    lines = ["path,labels", "1.jpg,b", "2.jpg,a"]
    listing = list_images(write(tmp_path / "x.csv", *lines))
    assert listing.labels.tolist() == [1, 0] and listing.labels.dtype == np.int32
    touch(tmp_path, "3.jpg")
    listing = list_images(write(tmp_path / "x.csv", *lines, "3.jpg,"))
    assert listing.labels.tolist() == [1, 0, -1]


def test_csv_of_excel(tmp_path):
    touch(tmp_path, "ü.jpg")
    lines = ("path,labels", "ü.jpg,é")
    file = write(tmp_path / "x.csv", *lines, end="\r\n", encoding="utf-8-sig")
    assert list_images(file).names == ("ü.jpg",) and list_images(file).class_names == ("é",)


def test_paths_start_from_the_root_or_are_absolute(tmp_path):
    touch(tmp_path / "images", "1.jpg", "2.jpg", "3.jpg")
    (tmp_path / "lists").mkdir()
    second = tmp_path / "images" / "2.jpg"
    file = write(tmp_path / "lists/x.csv", "path,labels", "./1.jpg,a", f"{second},a")
    listing = list_images(file, root=tmp_path / "images")
    assert listing.paths == (tmp_path / "images/1.jpg", second)
    assert listing.skipped == ("3.jpg: x.csv has no line for it",)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_and_columns_in_another_order(tmp_path, delimiter):
    touch(tmp_path, "1,2.jpg", "3.jpg")
    lines = (["Test", "labels", "PATH"], ["1", '"x;y"', "1,2.jpg"], ["", "x", "3.jpg"])
    file = write(tmp_path / "x.csv", *map(delimiter.join, lines), encoding="utf-8-sig")
    listing = list_images(file)
    assert listing.names == ("1,2.jpg", "3.jpg") and listing.is_test.tolist() == [True, False]
    assert listing.labels.tolist() == [[1, 1], [1, 0]] and listing.class_names == ("x", "y")


def test_all_wrong_lines_are_in_one_error(tmp_path):
    touch(tmp_path, "1.jpg")
    lines = ["path,labels", "1.jpg,a", *([",a"] * 12), "1.jpg,a", '"1"x,a', "gone.jpg,a,b"]
    file = write(tmp_path / "x.csv", *lines)
    with pytest.raises(UserError) as caught:
        list_images(file)
    told = str(caught.value).split("\n")
    assert told[0].startswith(f"15 lines of {file} are wrong: write lines like a/1.jpg,x;y")
    assert told[1:11] == [f"  line {number} has no path" for number in range(3, 13)]
    assert told[11:] == ["  and 5 more"]
    last = caught.value.mistakes[-3:]
    assert last[0] == "line 15 names '1.jpg', as line 2 does"
    assert last[1].startswith("line 16 cannot be read")
    assert last[2] == "line 17 has 3 columns, not 2"


def test_lines_in_another_encoding_are_named(tmp_path):
    touch(tmp_path, "1.jpg", "2.jpg")
    for name, lines in {"x.csv": ["path,labels", "1.jpg,a", "\xe9.jpg,a"],
                        "x.jsonl": ['{"path": "1.jpg"}', "", '{"path": "\xe9"}']}.items():
        file = write(tmp_path / name, *lines, encoding="latin-1")
        one_sentence(lambda file=file: list_images(file), "Line 3", "byte 0xE9 in column", "UTF-8")
        file = write(tmp_path / name, *lines, encoding="utf-16")
        one_sentence(lambda file=file: list_images(file), "is in UTF-16: save it as UTF-8")


def test_a_header_in_another_encoding_is_named(tmp_path):
    file = write(tmp_path / "x.csv", "p\xe4th,labels", "1.jpg,a", encoding="latin-1")
    one_sentence(lambda: list_images(file), "Line 1", "byte 0xE4 in column 2")


def test_labels_may_be_missing_in_jsonl(tmp_path):
    touch(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    rows = [{"path": "1.jpg", "labels": ["a"]}, {"path": "2.jpg"},
            {"path": "3.jpg", "labels": None, "test": None}]  # fmt: skip
    listing = list_images(write(tmp_path / "x.jsonl", *map(json.dumps, rows)))
    assert listing.labels.tolist() == [0, -1, -1] and not listing.is_test.any()


def test_jsonl_is_read_as_csv_is(tmp_path):
    touch(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    rows = [
        {"path": "1.jpg", "labels": ["sea", " sky"], "test": True},
        {"path": "2.jpg", "labels": []},
        {"path": "3.jpg", "labels": ["a;b", ""], "more": 1},
    ]
    listing = list_images(write(tmp_path / "x.jsonl", *map(json.dumps, rows), ""))
    assert listing.class_names == ("a;b", "sea", "sky")
    assert listing.labels.tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]
    assert listing.is_test.tolist() == [True, False, False]


def test_lines_for_missing_files_are_reported(tmp_path):
    touch(tmp_path, "1.jpg")
    file = write(tmp_path / "x.csv", "path,labels", "0.jpg,b", "1.jpg,a", "sub/2.jpg,a")
    listing = list_images(file)
    assert listing.names == ("1.jpg",) and listing.class_names == ("a",)
    assert listing.skipped == (
        "0.jpg: line 2 of x.csv names it, but it is missing",
        "sub/2.jpg: line 4 of x.csv names it, but it is missing",
    )


def test_no_file_is_there(tmp_path):
    file = write(tmp_path / "x.csv", "path,labels", "0.jpg,b", "1.jpg,a")
    one_sentence(lambda: list_images(file), file, "2 images", tmp_path, "data.image_root")


def test_no_labels_at_all(tmp_path):
    touch(tmp_path, "1.jpg")
    file = write(tmp_path / "x.csv", "path,labels", "1.jpg,")
    one_sentence(lambda: list_images(file), file, "label some")


def test_labels_that_differ_only_in_case(tmp_path):
    touch(tmp_path, "1.jpg")
    file = write(tmp_path / "x.csv", "path,labels", "1.jpg,Sky;sky")
    one_sentence(lambda: list_images(file), "'Sky'", "'sky'", file)


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        (["file;class"], ["Line 1", "header", "reads 'file', 'class', with a semicolon taken"]),
        (["1.jpg,a"], ["Line 1", "header", "reads '1.jpg', 'a', with a comma taken"]),
        (["", "1.jpg\ta"], ["Line 2", "header", "with a tab taken"]),
        (["path labels"], ["Line 1", "reads 'path labels', with a comma taken"]),
        (["path,labels,path"], ["Line 1", "header"]),
        ([], ["is empty"]),
        (["path,labels", "1.jpg,a", "2.jpg,a,0"], ["Line 3", "3 columns, not 2"]),
        (["path,labels", "1.jpg"], ["Line 2", "1 columns, not 2"]),
        (["path,labels,test", "1.jpg,a,perhaps"], ["Line 2", "'perhaps'"]),
        (["path,labels", ",a"], ["Line 2", "no path"]),
        (["path,labels", '"1.jpg,a'], ["Line 2", "a quote has no end"]),
        (["path,labels", "1.jpg,a", '"2.jpg,a', "3.jpg,a"], ["Line 3", "a quote has no end"]),
        (["path,labels", '"1"x.jpg,a'], ["Line 2 ", "cannot be read"]),
        (["path,labels", "1.jpg,a", "2.jpg,a", "./1.jpg,b"], ["Line 4", "'./1.jpg'", "line 2"]),
    ],
)
def test_wrong_lines_of_csv(tmp_path, lines, parts):
    touch(tmp_path, "1.jpg", "2.jpg")
    file = write(tmp_path / "x.csv", *lines)
    one_sentence(lambda: list_images(file), *parts, file)


@pytest.mark.parametrize(
    "line",
    [
        "1.jpg",
        "[]",
        pytest.param("[" * 100_000, id="deep"),
        '{"path": "2.jpg", "label": ["a"]}',
        '{"labels": []}',
        '{"path": "", "labels": []}',
        '{"path": "2.jpg", "labels": "a"}',
        '{"path": "2.jpg", "labels": [1]}',
        '{"path": "2.jpg", "labels": [], "test": 1}',
        '{"path": "1.jpg", "labels": ["a"]}',
    ],
)
def test_wrong_lines_of_jsonl(tmp_path, line):
    touch(tmp_path, "1.jpg", "2.jpg")
    file = write(tmp_path / "x.jsonl", '{"path": "1.jpg", "labels": ["a"]}', line)
    one_sentence(lambda: list_images(file), "Line 2", file)


def test_not_utf8(tmp_path):
    file = write(tmp_path / "x.csv", "path,labels", "é.jpg,a", encoding="latin-1")
    one_sentence(lambda: list_images(file), file, "UTF-8")
