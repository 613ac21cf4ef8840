"""Atomic writes and locks."""

import fcntl
import json
import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsh_jax.files import locked, remove_abandoned, replacing, try_lock, write_json


def test_the_file_is_replaced_and_nothing_left_beside(tmp_path):
    path = tmp_path / "new" / "a.txt"
    for content in ("first", "second"):
        with replacing(path) as beside:
            beside.write_text(content)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == content
    assert list(path.parent.iterdir()) == [path]


def test_after_an_error_the_file_is_as_before(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(RuntimeError, match="half way"), replacing(path) as beside:
        beside.write_text("ha")
        raise RuntimeError("half way")
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_a_path_is_locked_during_the_block_only(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with locked(path):
        with (path.parent / ".a.txt.lock").open("w") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with locked(path):
        pass
    assert not path.exists()


def test_a_lock_that_is_held_is_not_waited_for(tmp_path):
    held = try_lock(tmp_path / "lock")
    assert held is not None and try_lock(tmp_path / "lock") is None
    os.close(held)
    again = try_lock(tmp_path / "lock")
    assert again is not None
    os.close(again)
    (tmp_path / "link").symlink_to("lock")
    with pytest.raises(OSError):
        try_lock(tmp_path / "link")


def test_temporary_files_of_dead_processes_are_removed(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / "samples").mkdir()
    gone = [tmp_path / f".a.json.{dead.pid}.tmp", tmp_path / f"samples/.b.png.{dead.pid}.tmp",
            tmp_path / f".c.json.{os.getpid()}.tmp", tmp_path / f".d.{10**30}.tmp"]  # fmt: skip
    kept = [tmp_path / f".e.json.{os.getppid()}.tmp", tmp_path / ".f.tmp", tmp_path / "g.1.tmp"]
    for path in (*gone, *kept):
        path.write_text("")
    remove_abandoned(tmp_path)
    assert [path for path in (*gone, *kept) if path.exists()] == kept


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("[1,\n] e-"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("[1\n ]"), inner),
)


@settings(max_examples=200, deadline=None)
@given(content=JSON)
def test_json_is_read_back_as_it_was(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    write_json(path, content)
    assert json.loads(path.read_text()) == content


def test_a_list_of_numbers_is_one_line(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, -0.5, 1e-20], "b": ["x", "1,\n 2"], "c": [[3], []]})
    assert (tmp_path / "a.json").read_text().splitlines() == [
        "{", '  "a": [1, -0.5, 1e-20],', '  "b": [', '    "x",', '    "1,\\n 2"', "  ],",
        '  "c": [', "    [3],", "    []", "  ]", "}",
    ]  # fmt: skip
