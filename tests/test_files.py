"""Atomic writes and locks."""

import fcntl
import os
import subprocess

import pytest

from dsh_jax.files import locked, remove_abandoned, replacing


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
