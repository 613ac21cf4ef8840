"""One training at a time in a workdir."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from dsh_jax.errors import UserError
from dsh_jax.files import try_lock

NAME = ".train.lock"


class WorkdirLock:
    """Held by the training that writes a workdir; the kernel releases it when the process ends.

    Args:
      workdir: where to hold it; need not exist.
    """

    def __init__(self, workdir: Path) -> None:
        self._workdir = workdir
        self._path = workdir / NAME
        self._file: int | None = None

    def __enter__(self) -> "WorkdirLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def take(self, *, create: bool) -> None:
        """Takes the lock, unless it is held already.

        Args:
          create: whether to make workdir and lock file; without them there is nothing to hold.

        Raises:
          UserError: another training holds it.
        """
        if self._file is not None:
            return
        if create:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        elif not self._path.exists():
            return
        self._file = try_lock(self._path)
        if self._file is None:
            raise UserError(
                f"another training is running in {self._workdir}: wait for its end, stop it, or "
                "choose another --workdir."
            )

    def check(self) -> None:
        """Checks that the workdir is still there.

        Raises:
          UserError: it was deleted, moved or replaced since the lock was taken.
        """
        if self._file is None:  # another process of this training holds it
            return
        try:
            there = os.path.samestat(os.fstat(self._file), os.stat(self._path))
        except OSError:
            there = False
        if not there:
            raise UserError(
                f"{self._workdir} was deleted, moved or replaced while it was trained: leave it in "
                "place, and train again."
            )

    @contextlib.contextmanager
    def checked(self) -> Iterator[None]:
        """Checks after a block, too: if the workdir is gone, that is the cause of any error.

        Raises:
          UserError: as `check`.
        """
        try:
            yield
        except Exception:
            self.check()
            raise
        self.check()

    def release(self) -> None:
        """Releases the lock, if it is held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
