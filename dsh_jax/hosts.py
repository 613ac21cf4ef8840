"""What several processes, on one machine or many, tell each other while they work together.

All of it goes through this module, but for the gradients that a step averages (`devices`). In a
single process every function here does nothing. `joining` brings processes together.
"""

import contextlib
import json
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from dsh_jax import interrupt
from dsh_jax.errors import UserError
from dsh_jax.share import Share

T = TypeVar("T")


def count() -> int:
    """How many processes there are."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def index() -> int:
    """Which of them this one is, from 0."""
    return jax.process_index() if jax.distributed.is_initialized() else 0


def is_first() -> bool:
    """Whether this is process 0, which alone writes files and reports."""
    return index() == 0


def share() -> Share:
    """The part of each batch that this process makes."""
    return Share(index(), count())


@contextlib.contextmanager
def stopping(is_over: Callable[[], bool]) -> Iterator[Callable[[int], bool]]:
    """Within the block Ctrl-C and SIGTERM, to any of the processes, ask all of them to stop.

    Args:
      is_over: whether this process is to stop without a signal.

    Yields:
      Number of a call -> whether to stop after it: in all processes after the same one. It must be
      asked after every call.
    """
    if count() == 1:
        with interrupt.requests(signal.SIGINT, signal.SIGTERM) as asked:
            yield lambda call: asked() or is_over()
        return
    told = False
    with interrupt.requests(signal.SIGINT) as asked:  # JAX takes SIGTERM, and tells the others

        def stops(call: int) -> bool:
            nonlocal told
            if not told and (asked() or is_over()):
                told = True
                os.kill(os.getpid(), signal.SIGTERM)
            return multihost_utils.reached_preemption_sync_point(call)

        yield stops


def agree(facts: Mapping[str, str], fix: str) -> None:
    """Checks that all processes have the same facts.

    Args:
      facts: what each fact is called -> its value, in few words.
      fix: what to do where they differ.

    Raises:
      UserError: some differ; in all processes, with their names and values.
    """
    if count() == 1:
        return
    first, *others = (json.loads(sent) for sent in _exchange(json.dumps(dict(facts)).encode()))
    for number, other in enumerate(others, start=1):
        differing = [
            f"{name} ({other.get(name, 'none')} there, {first.get(name, 'none')} on process 0)"
            for name in {**first, **other}
            if first.get(name) != other.get(name)
        ]
        if differing:
            raise UserError(f"process {number} has another {', another '.join(differing)}: {fix}.")


def check_shared(folder: Path) -> None:
    """Checks that all processes see the folder of process 0.

    Raises:
      UserError: one does not.
    """
    if count() == 1:
        return
    mark = folder / ".shared"
    if is_first():
        mark.write_text(secrets.token_hex(16))
    token = _from_first(mark.read_bytes() if is_first() else b"")
    ends = time.monotonic() + 5  # file systems of networks show new files late
    while not (seen := _reads(mark, token)) and time.monotonic() < ends:
        time.sleep(0.2)
    try:
        agree(
            {f"folder under the name {folder}": "shared" if seen else "its own"},
            "name a --workdir on a file system that all machines share",
        )
    finally:
        if is_first():
            mark.unlink(missing_ok=True)


def _reads(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def from_first(tree: Any) -> Any:
    """A tree of arrays as process 0 has it, to the last bit; its shape is the same in all."""
    if count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, tree))
    sent = _from_first(b"".join(leaf.tobytes() for leaf in leaves))
    ends = np.cumsum([leaf.nbytes for leaf in leaves])
    return jax.tree.unflatten(structure, [
        np.frombuffer(sent[end - leaf.nbytes : end], leaf.dtype).reshape(leaf.shape)
        for leaf, end in zip(leaves, ends, strict=True)
    ])  # fmt: skip


def first_alone(make: Callable[[], T]) -> T:
    """Calls a function in process 0, and then in the others, which may find a cache filled."""
    if count() == 1:
        return make()
    made = make() if is_first() else None
    multihost_utils.sync_global_devices("first alone")
    return make() if made is None else made


def shared_out(
    rows_of: Callable[[np.ndarray], np.ndarray], ids: np.ndarray, unit: int
) -> np.ndarray:
    """Rows of ids, of which each process makes a part.

    Args:
      rows_of: ids `[m]`, at least one -> their rows `[m, ...]`.
      ids: `[n]`, at least one.
      unit: how many belong together, so that batches are those of a single process.

    Returns:
      `[n, ...]`, in all processes.
    """
    if count() == 1:
        return rows_of(ids)
    units = -(-len(ids) // unit)
    first, end = (units * number // count() * unit for number in (index(), index() + 1))
    own = ids[first:end]
    rows = np.ascontiguousarray(rows_of(own) if len(own) else rows_of(ids[:1])[:0])
    return np.concatenate([
        np.frombuffer(sent, rows.dtype).reshape(-1, *rows.shape[1:])
        for sent in _exchange(rows.tobytes())
    ])  # fmt: skip


def _exchange(content: bytes) -> list[bytes]:
    """What each process sends, in their order."""
    sizes = multihost_utils.process_allgather(np.asarray(len(content), np.int32))
    padded = np.zeros(max(int(sizes.max()), 1), np.uint8)
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    sent = multihost_utils.process_allgather(padded)
    return [row[:size].tobytes() for row, size in zip(sent, sizes, strict=True)]


def _from_first(content: bytes) -> bytes:
    """What process 0 sends."""
    size = int(multihost_utils.broadcast_one_to_all(np.asarray(len(content), np.int32)))
    padded = np.zeros(max(size, 1), np.uint8)
    if is_first():
        padded[:size] = np.frombuffer(content, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(padded))[:size].tobytes()
