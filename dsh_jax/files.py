"""Atomic writes, locks, JSON files and the cache folder."""

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dsh_jax.errors import UserError

# No string of JSON holds a newline, so what begins with one is a list.
_NUMBERS = re.compile(r"\[(\n[-+.,\deE\s]+)\]")


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
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk names no file
        raise
    finally:
        beside.unlink(missing_ok=True)


def remove_abandoned(folder: Path) -> None:
    """Removes the temporary files of `replacing` that killed processes left in a folder.

    Those of other processes that still run are kept; there must be none of this process.
    """
    for path in sorted(folder.rglob(".*.tmp")):
        _, _, pid = path.stem.rpartition(".")
        if pid.isdecimal() and not (int(pid) != os.getpid() and _is_running(int(pid))):
            path.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    return True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Locks a path against other processes for a block; waits while one of them holds the lock.

    The lock is a file next to `path`; folders are made as needed. A killed process releases it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def try_lock(path: Path) -> int | None:
    """Locks a file against other processes without waiting; it is made if there is none.

    Returns:
      A file descriptor, closing which releases the lock, as does being killed; None if another
      process holds it.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def user_cache() -> Path:
    """The folder for what can be made again: `dsh_jax` in the user's cache folder."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "dsh_jax"


def refuse_links_out(folder: Path) -> None:
    """Refuses a folder with symbolic links that lead out of it: who reads it would follow them.

    Raises:
      UserError: there is such a link; names it.
    """
    root = folder.resolve()
    for place, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
                raise UserError(
                    f"{path} is a link that leads out of {folder}: replace it with what it links "
                    "to, or remove it."
                )


def write_json(path: Path, content: Any) -> None:
    """Writes JSON atomically; a list of numbers is one line."""
    text = json.dumps(content, indent=2)
    with replacing(path) as beside:
        beside.write_text(_NUMBERS.sub(lambda x: f"[{' '.join(x[1].split())}]", text) + "\n")


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
