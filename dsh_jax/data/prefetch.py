"""Makes batches ahead of time, in one thread, or in several with Grain keeping the order."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def prefetch(make: Callable[[S], T], steps: Iterable[S], *, depth: int = 2) -> Iterator[T]:
    """Yields make(step) for each step, in order, made by a thread up to `depth` steps ahead.

    An exception in `make` or `steps` is raised here, after the results of the steps before it.
    Closing the iterator stops the thread once the current call of `make` has returned. Nothing
    starts before the first `next`.
    """
    if depth < 1:
        raise ValueError(f"depth {depth} should be 1 or more")
    # Each entry is (result, None), (None, exception), or None at the end.
    ready: queue.Queue[tuple[T, None] | tuple[None, BaseException] | None] = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        try:
            for step in steps:
                result = make(step)
                if stop.is_set():
                    return
                ready.put((result, None))
                if stop.is_set():
                    return
            ready.put(None)
        except BaseException as error:  # of any type, or the consumer would wait forever
            if not stop.is_set():
                ready.put((None, error))

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while (entry := ready.get()) is not None:
            result, error = entry
            if error is not None:
                raise error
            yield result  # type: ignore[misc]  # without an error there is a result
    finally:
        stop.set()
        # The thread checks `stop` before each put, so at most one put is still to come, and the
        # emptied queue has room for it.
        while True:
            try:
                ready.get_nowait()
            except queue.Empty:
                break
        thread.join()


def stream(make: Callable[[int], T], steps: range, *, workers: int = 2) -> Iterator[T]:
    """Yields make(step) for each step, in order, made by `workers` threads ahead of time.

    As in `prefetch`, an exception in `make` is raised here, after the results of the steps before
    it, and nothing starts before the first `next`.
    """
    import grain  # slow to import, and only needed here

    made = grain.MapDataset.range(steps.start, steps.stop, steps.step).map(make)
    options = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=2 * workers)
    iterator = iter(made.to_iter_dataset(options))
    try:
        yield from iterator
    finally:
        iterator.close()
