"""Only regular files of a sane size are read, wherever a user may name a file."""

import gzip
import os
import socket
import tracemalloc

import pytest

from dsh_jax.data.documents.collections import load_documents
from dsh_jax.data.images import cifar10_archive, decoding
from dsh_jax.data.images.decoding import read_image
from dsh_jax.data.images.listing import list_images
from dsh_jax.data.images.nus_wide import list_nus_wide
from dsh_jax.data.reading import Limited, open_regular, read_bytes, read_text
from dsh_jax.data.splits.split import load as load_split
from dsh_jax.encoder_files import load as load_encoder_file
from dsh_jax.encoder_files import load_description
from dsh_jax.errors import UserError


def make_special(kind, path):
    """A path that leads to something which is not a file of a sane size."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            folder = os.getcwd()
            os.chdir(path.parent)  # the address of a socket may only be short
            try:
                server.bind(path.name)
            finally:
                os.chdir(folder)
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(2**40)  # takes no space
    else:
        path.symlink_to("/dev/zero")
    return path


KINDS = ("pipe", "socket", "folder", "device", "large")


@pytest.mark.parametrize("kind", KINDS)
def test_only_regular_files_are_opened(tmp_path, kind):
    path = make_special(kind, tmp_path / "x")
    expected = "more than the limit" if kind == "large" else "not a regular file"
    for read in (read_bytes, read_text, open_regular):
        with pytest.raises(OSError, match=expected):
            read(path)


@pytest.mark.parametrize("kind", KINDS)
def test_everything_that_reads_a_users_file_refuses_others(tmp_path, kind):
    """None of these waits, or fills the memory."""
    path = make_special(kind, tmp_path / "x.jsonl")
    assert isinstance(read_image(path, (8, 8)), str)
    calls = [
        lambda: load_documents("jsonl", path),
        lambda: load_split(path),
        lambda: load_encoder_file(path),
        lambda: cifar10_archive.read(path),
    ]
    if kind != "folder":
        calls += [
            lambda: load_documents("20newsgroups", path),
            lambda: load_documents("reuters21578", path),
            lambda: list_images(path),
        ]
    for call in calls:
        with pytest.raises(UserError):
            call()


@pytest.mark.parametrize("kind", KINDS)
def test_a_workdirs_description(tmp_path, kind):
    make_special(kind, tmp_path / "signature.json")
    with pytest.raises(UserError, match="damaged"):
        load_description(tmp_path)


def test_lists_of_nus_wide(tmp_path):
    (tmp_path / "ImageList").mkdir()
    make_special("large", tmp_path / "ImageList/Imagelist.txt")
    with pytest.raises(UserError, match="cannot be read"):
        list_nus_wide(tmp_path)


@pytest.mark.skipif(not os.path.exists("/proc/kmsg"), reason="there is no /proc")
def test_files_of_proc_are_not_read():
    assert read_bytes("/proc/self/environ") == b""
    assert read_image("/proc/self/environ", (8, 8)) == "it is empty"


def test_what_is_read_is_the_file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
    assert read_bytes(path) == path.read_bytes()
    assert read_text(path, "utf-8-sig") == path.read_text("utf-8-sig") == "a\nb\nc\n"
    assert len(read_bytes(path, 10)) == path.stat().st_size == 10
    with pytest.raises(OSError, match="has 10 bytes, more than the limit of 9"):
        read_bytes(path, 9)


def test_an_image_file_has_a_limit(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(bytes(100))
    monkeypatch.setattr(decoding, "MOST_BYTES", 99)
    assert "limit of 99" in read_image(path, (8, 8))


def test_inflating_stops_at_the_limit(tmp_path):
    with gzip.open(tmp_path / "x.gz", "wb") as file:
        for _ in range(100):
            file.write(bytes(2**20))
    tracemalloc.start()
    with gzip.open(tmp_path / "x.gz") as file:
        limited = Limited(file, 2**20)
        assert len(limited.read(2**19)) == 2**19
        with pytest.raises(ValueError, match="inflates to more than 1,048,576 bytes"):
            limited.read(2**30)
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()
