"""Atomic writes, locks and JSON files."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dsh_jax.errors import UserError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which replaces `path` if the block ends without an error.

    Folders are made as needed. The temporary file is always removed, and an error leaves `path` as
    it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Locks a path against other processes for a block; waits while one of them holds the lock.

    The lock is a file next to `path`; folders are made as needed. A killed process releases it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_json(path: Path, content: Any) -> None:
    """Writes JSON atomically."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Reads JSON.

    Raises:
      UserError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; run train.py --workdir {path.parent}.") from error
    except ValueError as error:
        raise UserError(
            f"{path} is not valid JSON ({error}); restore it or train again."
        ) from error
