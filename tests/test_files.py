"""Atomic writes and locks."""

import fcntl

import pytest

from dsh_jax.files import locked, replacing


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
