"""One call for what several requests wait for."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from typing import Generic, TypeVar

S = TypeVar("S")
T = TypeVar("T")


class Batches(Generic[S, T]):
    """Runs a function on what waits, in a thread of its own, one batch at a time.

    Nothing waits for others to come: an item that is alone is taken at once, and those that come
    while it is worked on are the next batch.

    Args:
      run: items -> a result of each.
      most: items of a batch.
    """

    def __init__(self, run: Callable[[Sequence[S]], Iterable[T]], most: int) -> None:
        self._run = run
        self._most = most
        self._waiting: deque[tuple[Future[T], S]] = deque()
        self._thread = ThreadPoolExecutor(1, "batches")

    def submit(self, item: S) -> "Future[T]":
        """The result of an item, or the error of its batch; one that is cancelled is left out."""
        future: Future[T] = Future()
        self._waiting.append((future, item))
        self._thread.submit(self._take)  # finds nothing if an earlier one has taken the item
        return future

    def _take(self) -> None:
        taken = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
        batch = [(future, item) for future, item in taken if future.set_running_or_notify_cancel()]
        if not batch:
            return
        try:
            results = self._run([item for _, item in batch])
            for (future, _), result in zip(batch, results, strict=True):
                future.set_result(result)
        except BaseException as error:
            for future, _ in batch:
                with contextlib.suppress(InvalidStateError):
                    future.set_exception(error)
