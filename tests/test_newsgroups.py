"""Reading 20 Newsgroups: messages, their groups, and what is stripped from their texts."""

import numpy as np
import pytest

from dsh_jax.data.documents.collections import (
    load_documents,
    strip_footer,
    strip_headers,
    strip_quotes,
)
from tests.collection_files import TEXT_DIR, error_of, pack, same, write_newsgroups

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
        error_of(
            "20newsgroups", path, f"{path} holds messages of 19 groups", "dataset/113", "qwone"
        )


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
