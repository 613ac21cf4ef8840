"""Reading documents: what comes out of each collection, and what a user is told when nothing can.

The hand-made collections have the layout of the real ones: 22 SGML files, 20 folders of messages.
"""

import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from dsh_jax.data.documents import collections as documents
from dsh_jax.data.documents.collections import (
    load_documents,
    strip_footer,
    strip_headers,
    strip_quotes,
)
from dsh_jax.errors import UserError

TEXT_DIR = Path(__file__).parents[2] / "shared/data/text"

BEGIN = '<REUTERS TOPICS="{}" LEWISSPLIT="{}" CGISPLIT="TRAINING-SET" OLDID="5544" NEWID="{}">\n'
DOCUMENT = (
    BEGIN
    + """<DATE>26-FEB-1987 15:01:01.79</DATE>
<TOPICS>{}</TOPICS>
<PLACES><D>usa</D></PLACES>
<PEOPLE></PEOPLE>
<UNKNOWN>
&#5;&#5;&#5;C T
&#22;&#22;&#1;f0704&#31;reute</UNKNOWN>
{}
</REUTERS>
"""
)
NORM = (
    "<TEXT>&#2;\n<TITLE>{}</TITLE>\n<DATELINE>    SALVADOR, Feb 26 - </DATELINE>"
    "<BODY>{}\n Reuter\n&#3;</BODY></TEXT>"
)
BRIEF = '<TEXT TYPE="BRIEF">&#2;\n******<TITLE>{}\n</TITLE>Blah blah blah.\n&#3;\n\n</TEXT>'
UNPROC = '<TEXT TYPE="UNPROC">&#2;\n{}\n&#3;</TEXT>'
HEAD = '<!DOCTYPE lewis SYSTEM "lewis.dtd">\n'
FILLER = HEAD + DOCUMENT.format("NO", "TRAIN", 9, "<D>left-out</D>", NORM.format("T", "B"))
TITLE, BODY = "COCOA &lt;CO> &amp; SONS", "Fell\x1b 5 &lt; 6&#127;\r\n    and\x85 \xfc&#30;."
FIRST = HEAD + "".join(
    DOCUMENT.format(*values)
    for values in (
        ("YES", "TRAIN", 1, "<D>grain</D><D>cocoa</D>", NORM.format(TITLE, BODY)),
        ("YES", "TEST", 2, "<D>only-in-test</D>", BRIEF.format("COCOA FELL")),
        ("YES", "NOT-USED", 3, "<D>left-out</D>", NORM.format("T", "B")),
        ("BYPASS", "TEST", 4, "<D>left-out</D>", NORM.format("T", "B")),
        ("YES", "TEST", 5, "", UNPROC.format("FED REPORT\n Float...2,101")),
    )
)
LAST = HEAD + DOCUMENT.format("YES", "TRAIN", 6, "<D>cocoa</D>", NORM.format("T", "B"))


def write_reuters(folder, first=FIRST):
    """Writes the 22 files; the documents of interest are in the second one and in the last."""
    folder.mkdir()
    for number in range(22):
        text = {1: first, 21: LAST}.get(number, FILLER)
        (folder / f"reut2-{number:03}.sgm").write_bytes(text.encode("latin-1"))
    (folder / "README.txt").write_text("<REUTERS>")
    return folder


def write_newsgroups(folder, messages=(), groups=20):
    for number in range(groups):
        (folder / f"group.{number:02}").mkdir(parents=True)
        (folder / f"group.{number:02}" / "100").write_bytes(b"From: x\n\nwords\n")
    for place, content in messages:
        (folder / place).write_bytes(content)
    return folder


def pack(source, archive, root):
    """Packs a folder under the name `root` ("" for none), its files in reverse order."""
    with tarfile.open(archive, "w:gz") as tar:
        for file in sorted(source.rglob("*"), reverse=True):
            tar.add(file, Path(root) / file.relative_to(source), recursive=False)
    return archive


def write_lines(path, *lines):
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts))
    return path


def same(a, b):
    return (
        (a.name, a.version, a.names, a.texts, a.class_names)
        == (b.name, b.version, b.names, b.texts, b.class_names)
        and np.array_equal(a.labels, b.labels)
        and np.array_equal(a.is_test, b.is_test)
    )


def told(name, path, *parts):
    """The message of a `UserError`, which is one sentence with these parts."""
    with pytest.raises(UserError) as caught:
        load_documents(name, path)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and ". " not in message, message
    for part in parts:
        assert part in message
    return message


# Reuters-21578


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
def test_broken_sgml_is_told_with_file_and_line(tmp_path, sgml, piece, problem):
    line = sgml.count("\n", 0, sgml.rindex(piece) + len(piece)) + 1
    files = write_reuters(tmp_path / "files", sgml)
    mend = "https://archive.ics.uci.edu/dataset/137 and set data.data_dir"
    start = f"Line {line} of reut2-001.sgm in {files} {problem}"
    assert told("reuters21578", files, mend).startswith(start)
    archive = pack(files, tmp_path / "reuters21578.tar.gz", "")
    start = f"Line {line} of reut2-001.sgm in {archive} {problem}"
    assert told("reuters21578", archive, mend).startswith(start)


def test_markup_that_python_cannot_read_is_told(tmp_path):
    """Which is refused by some versions of Python and taken for a comment by others."""
    files = write_reuters(tmp_path / "files", FIRST.removesuffix("</REUTERS>\n") + "<![x</REUTERS>")
    told("reuters21578", files, " of reut2-001.sgm in ", "data.data_dir")


def test_reuters_needs_all_its_files(tmp_path):
    files = write_reuters(tmp_path / "files")
    (files / "reut2-007.sgm").unlink()
    for path in (files, pack(files, tmp_path / "reuters21578.tar.gz", "")):
        told("reuters21578", path, f"{path} holds 21 of the 22 files", "dataset/137")


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


# 20 Newsgroups

MESSAGE = b"""Path: a!b
Subject: Re: Wings
From: joe@x.edu (Joe)

In article <1r15@y.com>, ann@y.com (Ann) writes:
> How do they
> fly?

They flap their wings, for caf\xe9s' sake\x08\x85.

--
Joe
joe@x.edu
"""


def test_newsgroups(tmp_path):
    messages = [
        ("group.03/99", MESSAGE),
        ("group.03/1000", MESSAGE.replace(b"\n", b"\r\n")),
        ("group.07/5", b"From: x\n\n> all is quoted\n"),
        ("group.07/index.txt", b"From: x\n\nno message\n"),
        ("group.07/6.txt", b"From: x\n\nno message\n"),
    ]
    files = write_newsgroups(tmp_path / "files", messages)
    (files / "README").write_text("no message")
    news = load_documents("20newsgroups", files)
    assert (news.name, news.version) == ("20newsgroups", "23")
    assert news.class_names == tuple(f"group.{number:02}" for number in range(20))
    # By group and then by number: 99 is before 100.
    assert news.names[2:6] == ("group.02/100", "group.03/99", "group.03/100", "group.03/1000")
    assert news.names[8:11] == ("group.06/100", "group.07/5", "group.07/100")
    assert news.labels.dtype == np.int32
    assert news.labels.tolist() == [0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 7, *range(8, 20)]
    assert news.is_test.dtype == bool and news.is_test.tolist() == [False] * 23
    flap = "They flap their wings, for caf\xe9s' sake."
    assert news.texts[3] == news.texts[5] == flap
    assert news.texts[4] == "words" and news.texts[9] == ""


def test_newsgroups_from_archive_and_folder_are_the_same(tmp_path):
    files = write_newsgroups(tmp_path / "files", [("group.03/99", MESSAGE)])
    expected = load_documents("20newsgroups", files)
    home = tmp_path / "home"
    home.mkdir()
    archive = pack(files, home / "20_newsgroups.tar.gz", "20_newsgroups")
    assert same(load_documents("20newsgroups", home), expected)
    assert same(load_documents("20newsgroups", archive), expected)
    assert same(load_documents("20newsgroups", pack(files, tmp_path / "a.tgz", "")), expected)
    assert sorted(home.iterdir()) == [archive]


def test_newsgroups_needs_20_groups(tmp_path):
    files = write_newsgroups(tmp_path / "files", groups=19)
    for path in (files, pack(files, tmp_path / "20_newsgroups.tar.gz", "20_newsgroups")):
        told("20newsgroups", path, f"{path} holds messages of 19 groups", "dataset/113", "qwone")


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("From: x\nSubject: y\n\nwords\n\nmore", "words\n\nmore"),
        ("From: x\n\n", ""),
        ("From: x\nno empty line", ""),
    ],
)
def test_strip_headers(message, text):
    assert strip_headers(message) == text


@pytest.mark.parametrize(
    "line",
    [
        "> words",
        ">words",
        "  > words",
        ">> > words",
        "|> words",
        "| words",
        ": words",
        "} words",
        "JD> words",
        " dab> words",
        "In article <1r15@y.com> ann@y.com (Ann) writes:",
        "In article <1r15@y.com>, ann@y.com (Ann)",
        "In a previous article, ann@y.com (Ann) says:",
        "ann@y.com (Ann) writes: ",
        "Ann (ann@y.com) wrote:",
    ],
)
def test_strip_quotes(line):
    assert strip_quotes(f"before\n{line}\nafter") == "before\nafter"
    assert strip_quotes(line) == ""


@pytest.mark.parametrize(
    "line",
    [
        "words > words",
        "words | words: words",
        "note: words",
        "Joe writes: words",
        "if (a->b) words",
        "words, in article 5",
        "He wrote them.",
        "- words",
    ],
)
def test_what_is_no_quote_stays(line):
    assert strip_quotes(f"before\n{line}\nafter") == f"before\n{line}\nafter"


SHORT, LONG = "\n".join("abcdefghij"), "\n".join("abcdefghijk")  # 10 and 11 lines


@pytest.mark.parametrize(
    ("text", "stripped"),
    [
        ("words\n--\nJoe\njoe@x.edu\n", "words"),
        ("words\n-- \nJoe", "words"),
        ("words\n  ---------  \nJoe", "words"),
        ("one\n----\ntwo\n--\nJoe", "one\n----\ntwo"),
        ("words\n-----\nJoe\n-----\n", "words"),
        ("words\n--\n", "words"),
        ("--\nJoe", ""),
        ("", ""),
        ("words - words\n- item\n-- item", "words - words\n- item\n-- item"),
        ("words\n-\nmore\n", "words\n-\nmore"),
        ("words\n\nmore\n", "words\n\nmore"),
        (f"words\n--\n{SHORT}", "words"),
        (f"words\n--\n{LONG}", f"words\n--\n{LONG}"),
    ],
)
def test_strip_footer(text, stripped):
    assert strip_footer(text) == stripped


@pytest.mark.skipif(
    not (TEXT_DIR / "20_newsgroups.tar.gz").is_file(),
    reason=f"no 20_newsgroups.tar.gz in {TEXT_DIR}",
)
def test_real_newsgroups():
    news = load_documents("20newsgroups", TEXT_DIR)
    assert len(news.texts) == 19997 and news.version == "19997"
    assert news.class_names[0] == "alt.atheism" and news.class_names[19] == "talk.religion.misc"
    sizes = [1000] * 20
    sizes[news.class_names.index("soc.religion.christian")] = 997
    assert np.bincount(news.labels).tolist() == sizes
    places = [(name.split("/")[0], int(name.split("/")[1])) for name in news.names]
    assert places == sorted(places) and len(set(places)) == 19997
    assert [news.class_names[label] for label in news.labels] == [group for group, _ in places]
    assert sum(not text for text in news.texts) == 92
    assert not any("\nPath: cantaloupe" in text for text in news.texts)
    wings = news.texts[news.names.index("comp.sys.mac.hardware/51762")]
    assert wings == "Tests suck! Post a real message!"


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
        ('{"id": "b", "text"', "is not a JSON object"),
        ("[" * 100_000, "is not a JSON object"),
        ("[1]", "is not a JSON object"),
        ('"words"', "is not a JSON object"),
        ({"text": "b", "tags": []}, 'has no "id" of'),
        ({"id": "b", "tags": []}, 'has no "text" of'),
        ({"id": "b", "text": "b"}, 'has no "tags" of'),
        (B | {"id": None}, 'has no "id" of'),
        (B | {"id": True}, 'has no "id" of'),
        (B | {"id": 1.5}, 'has no "id" of'),
        (B | {"text": 3}, 'has no "text" of'),
        (B | {"tags": "x"}, 'has no "tags" of'),
        (B | {"tags": ["x", 3]}, 'has "tags" that are not strings'),
        (B | {"test": 1}, 'has no "test" of'),
        (B | {"id": "a"}, "repeats the id 'a'"),
        (B | {"id": "2"}, "repeats the id '2'"),
    ],
)
def test_a_wrong_line_is_told_with_file_and_line(tmp_path, line, problem):
    path = write_lines(tmp_path / "a.jsonl", A, "", B | {"id": 2}, line)
    start = f"Line 4 of {path} {problem}"
    assert told("jsonl", path, 'write it like {"id": "a1"').startswith(start)


def test_a_line_that_is_no_utf8_is_told(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(json.dumps(A).encode() + b'\n{"id": "b", "text": "\xfc", "tags": []}\n')
    told("jsonl", path, f"Line 2 of {path} is not a JSON")


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_is_told(tmp_path, content):
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    told("jsonl", path, f"{path} holds no documents", "set data.data_dir to a file")


# All of them

MENDS = {
    "reuters21578": "https://archive.ics.uci.edu/dataset/137",
    "20newsgroups": "http://qwone.com/~jason/20Newsgroups/ or https://archive.ics.uci.edu/dataset/113",
    "jsonl": 'like {"id": "a1", "text": "some words", "tags": ["x", "y"], "test": false}',
}


def test_unknown_name_lists_the_names(tmp_path):
    told("reuters", tmp_path, "'reuters'", "reuters21578, 20newsgroups, jsonl")
    assert documents.NAMES == tuple(MENDS)


@pytest.mark.parametrize("name", MENDS)
def test_no_path_and_no_such_path(name, tmp_path):
    told(name, None, "data.data_dir is not set: ", "set data.data_dir to", MENDS[name])
    missing = tmp_path / "none"
    told(name, missing, f"{missing} cannot be read", "set data.data_dir to", MENDS[name])


def test_an_empty_folder(tmp_path):
    told("reuters21578", tmp_path, f"{tmp_path} holds 0 of the 22", MENDS["reuters21578"])
    told("20newsgroups", tmp_path, f"{tmp_path} holds messages of 0", MENDS["20newsgroups"])
    told("jsonl", tmp_path, f"{tmp_path} cannot be read", MENDS["jsonl"])


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
def test_a_damaged_archive_is_told(tmp_path, damage):
    for name, file, folder in (
        ("reuters21578", "reuters21578.tar.gz", write_reuters(tmp_path / "reuters")),
        ("20newsgroups", "20_newsgroups.tar.gz", write_newsgroups(tmp_path / "news")),
    ):
        archive = pack(folder, tmp_path / file, "root")
        archive.write_bytes(damage(archive.read_bytes()))
        for path in (archive, tmp_path):
            told(name, path, f"{archive} cannot be read (", MENDS[name])


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
    told("reuters21578", archive, f"{archive} holds 0 of the 22", MENDS["reuters21578"])
    told("20newsgroups", archive, f"{archive} holds messages of 0", MENDS["20newsgroups"])


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
    with pytest.raises(ValueError, match=f"{names} names and {texts} texts of 2 documents"):
        documents.Documents(
            name="x",
            version="1",
            labels=np.zeros(2, np.int32),
            is_test=np.zeros(2, bool),
            class_names=("a",),
            names=("n",) * names,
            texts=("t",) * texts,
        )
