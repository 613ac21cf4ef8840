"""Reading Reuters-21578 from SGML files and from its archive."""

import numpy as np
import pytest

from dsh_jax.data.documents import collections as documents
from dsh_jax.data.documents.collections import load_documents
from tests.collection_files import FIRST, TEXT_DIR, error_of, pack, same, write_reuters


def test_reuters(tmp_path):
    reuters = load_documents("reuters21578", write_reuters(tmp_path / "files"))
    assert (reuters.name, reuters.version) == ("reuters21578", "1.0")
    assert reuters.names == ("1", "2", "5", "6")
    assert reuters.is_test.dtype == bool
    assert reuters.is_test.tolist() == [False, True, True, False]
    assert reuters.class_names == ("cocoa", "grain", "only-in-test")
    assert reuters.labels.dtype == np.uint8
    assert reuters.labels.tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert reuters.texts == (
        "COCOA <CO> & SONS\nFell 5 < 6\n    and \xfc.\n Reuter",
        "COCOA FELL",
        "FED REPORT\n Float...2,101",
        "T\nB\n Reuter",
    )


def test_reuters_from_archive_and_folder_are_the_same(tmp_path):
    files = write_reuters(tmp_path / "files")
    expected = load_documents("reuters21578", files)
    home = tmp_path / "home"
    home.mkdir()
    archive = pack(files, home / "reuters21578.tar.gz", "")
    assert same(load_documents("reuters21578", home), expected)
    assert same(load_documents("reuters21578", archive), expected)
    renamed = pack(files, tmp_path / "any.tgz", "some/folder")
    assert same(load_documents("reuters21578", renamed), expected)
    assert sorted(home.iterdir()) == [archive]  # nothing was unpacked


def test_a_title_read_as_raw_text_changes_nothing(tmp_path, monkeypatch):
    """As newer versions of Python read it, to the next </TITLE>, with no markup inside."""
    cut = FIRST.replace("</TITLE>\n<DATELINE>", "\n<DATELINE>", 1)
    folders = [write_reuters(tmp_path / "a"), write_reuters(tmp_path / "b", cut)]
    expected = [load_documents("reuters21578", folder) for folder in folders]
    assert expected[1].names == ("1", "2", "5", "6") and "Fell" in expected[1].texts[0]
    for kind in ("CDATA_CONTENT_ELEMENTS", "RCDATA_CONTENT_ELEMENTS"):
        monkeypatch.setattr(documents._SgmlParser, kind, ("title",), raising=False)
        for folder, documents_ in zip(folders, expected, strict=True):
            assert same(load_documents("reuters21578", folder), documents_)


# Each with a piece of the line that the message should name: where the piece is last.
BROKEN = [
    (FIRST.replace("</REUTERS>", "", 1), 'NEWID="2"', "begins a document inside another"),
    (FIRST.removesuffix("</REUTERS>\n"), "&#3;</TEXT>", "is the last and ends inside a document"),
    (FIRST.removesuffix("</REUTERS>\n") + "<!-- </REUTERS>", "&#3;</TEXT>\n", "is the last and"),
    (FIRST[: FIRST.rindex("\n Float")], "FED REPORT", "is the last and ends inside a document"),
    (FIRST[: FIRST.rindex(" LEWISSPLIT")], "<REUTERS", "is the last and ends inside a document"),
    (FIRST.replace(' LEWISSPLIT="TEST"', "", 1), 'NEWID="2"', "begins a document without LEWIS"),
    (FIRST.replace(' TOPICS="YES"', "", 1), 'NEWID="1"', "begins a document without TOPICS"),
    (FIRST.replace(' NEWID="5"', "", 1), "<REUTERS", "begins a document without NEWID"),
    (FIRST.replace(' NEWID="5"', ' NEWID=""', 1), "<REUTERS", "begins a document without NEWID"),
    ("<REUTRES>\n</REUTERS>\n" + FIRST, "REUTRES>\n", "ends a document that never began"),
    ("", "", "is the last and ends inside a document"),
]


@pytest.mark.parametrize(("sgml", "piece", "problem"), BROKEN)
def test_broken_sgml_is_reported_with_file_and_line(tmp_path, sgml, piece, problem):
    line = sgml.count("\n", 0, sgml.rindex(piece) + len(piece)) + 1
    files = write_reuters(tmp_path / "files", sgml)
    fix = "https://archive.ics.uci.edu/dataset/137 and set data.data_dir"
    start = f"Line {line} of reut2-001.sgm in {files} {problem}"
    assert error_of("reuters21578", files, fix).startswith(start)
    archive = pack(files, tmp_path / "reuters21578.tar.gz", "")
    start = f"Line {line} of reut2-001.sgm in {archive} {problem}"
    assert error_of("reuters21578", archive, fix).startswith(start)


def test_markup_that_python_cannot_read_is_reported(tmp_path):
    """Which is refused by some versions of Python and taken for a comment by others."""
    files = write_reuters(tmp_path / "files", FIRST.removesuffix("</REUTERS>\n") + "<![x</REUTERS>")
    error_of("reuters21578", files, " of reut2-001.sgm in ", "data.data_dir")


def test_reuters_needs_all_its_files(tmp_path):
    files = write_reuters(tmp_path / "files")
    (files / "reut2-007.sgm").unlink()
    for path in (files, pack(files, tmp_path / "reuters21578.tar.gz", "")):
        error_of("reuters21578", path, f"{path} holds 21 of the 22 files", "dataset/137")


@pytest.mark.skipif(
    not (TEXT_DIR / "reuters21578.tar.gz").is_file(), reason=f"no reuters21578.tar.gz in {TEXT_DIR}"
)
def test_real_reuters():
    reuters = load_documents("reuters21578", TEXT_DIR)
    train, test = reuters.labels[~reuters.is_test], reuters.labels[reuters.is_test]
    assert (len(train), len(test)) == (9603, 3299)
    assert (train.any(1).sum(), test.any(1).sum()) == (7775, 3019)
    # Classes: in train, in test and in both.
    found = train.any(0), test.any(0)
    assert (found[0].sum(), found[1].sum(), (found[0] & found[1]).sum()) == (115, 93, 90)
    assert len(reuters.class_names) == 118
    assert list(reuters.class_names) == sorted(reuters.class_names)
    # The published sizes of the two largest classes.
    for name, sizes in (("earn", [2877, 1087]), ("acq", [1650, 719])):
        column = reuters.class_names.index(name)
        assert [train[:, column].sum(), test[:, column].sum()] == sizes
    assert len(set(reuters.names)) == 12902 and all(reuters.texts)
    assert reuters.names[0] == "1"
    assert reuters.texts[0].startswith("BAHIA COCOA REVIEW\nShowers continued throughout")
    assert reuters.texts[0].endswith("carnival which ends midday on February 27.\n Reuter")
    letters = set("".join(reuters.texts))
    assert "\xfc" in letters and min(letters - {"\n", "\t"}) == " " and "\x7f" not in letters
    assert not any("Blah blah blah" in text for text in reuters.texts)
