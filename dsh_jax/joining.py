"""Brings several processes together, and parts them: one way or another, all of them end."""

import contextlib
import ctypes
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

import jax
from jax.experimental import multihost_utils

from dsh_jax.errors import UserError, brief
from dsh_jax.interrupt import Stopped

JOIN_SECONDS = 60
"""How long a process waits for the others at the start."""
HEARTBEAT_SECONDS = 30
"""How long a process may give no sign of life before the others take it for dead, and end."""
_SHUTDOWN_SECONDS = 10
_LOST = (
    "another process of this run has ended or cannot be reached; its own log says why: run the "
    "same command on all of them again to resume."
)
_OF_THE_NETWORK = re.compile("gloo|nccl|unavailable|deadline|aborted|cancelled|connection|peer",
                             re.IGNORECASE)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Which of the processes this one is; left empty where JAX finds it out by itself.

    It does so in SLURM, Open MPI, Kubernetes and on Cloud TPU.

    Attributes:
      coordinator: HOST:PORT of process 0.
      num_processes: how many there are.
      process_id: this one's number, from 0.
    """

    coordinator: str = ""
    num_processes: int | None = None
    process_id: int | None = None


@contextlib.contextmanager
def joined(
    place: Place,
    *,
    seconds: int = JOIN_SECONDS,
    heartbeat: int = HEARTBEAT_SECONDS,
    takes_requests: bool = True,
) -> Iterator[None]:
    """Within the block this process works together with others, which run the same code.

    It must come before anything that makes JAX look for devices. All processes leave it together.

    Args:
      place: which of the processes this one is.
      seconds: how long to wait for the others.
      heartbeat: seconds without a sign of life after which a process is taken for dead.
      takes_requests: whether SIGTERM is a request to stop, for `hosts.stopping`.

    Raises:
      UserError: the others cannot be reached, or one was lost.
    """
    with _last_words() as words:
        jax.config.update("jax_enable_preemption_service", takes_requests)
        _join(place, seconds, heartbeat, words)
        words.sentence = _LOST
        try:
            yield
        except Stopped:
            _leave()
            raise
        except UserError as error:
            words.sentence = " ".join(str(error).split())
            _shut_down()
            raise
        except jax.errors.JaxRuntimeError as error:
            if not _OF_THE_NETWORK.search(str(error)):
                raise
            _shut_down()
            raise UserError(_LOST) from error
        _leave()


def _join(place: Place, seconds: int, heartbeat: int, words: "_LastWords") -> None:
    words.sentence = (
        f"the coordinator {place.coordinator} did not answer within {seconds} seconds: start "
        "process 0 too, and check its address, its port and the firewall."
    )
    if place.process_id == 0:
        words.sentence = (
            f"not all of the {place.num_processes} processes came within {seconds} seconds: start "
            f"each with --coordinator={place.coordinator} and a --process_id of its own."
        )
    elif place.coordinator and not _answers(place.coordinator, seconds):
        raise UserError(words.sentence)  # in good order, where JAX would abort
    try:
        jax.distributed.initialize(
            place.coordinator or None, place.num_processes, place.process_id,
            cluster_detection_method="deactivate" if place.coordinator else None,
            initialization_timeout=seconds, heartbeat_timeout_seconds=heartbeat,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )  # fmt: skip
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        if not place.coordinator and "must be defined" in str(error).replace("should", "must"):
            raise UserError(
                "no cluster was found that says which processes there are: give --coordinator="
                "HOST:PORT, --num_processes=N and --process_id=K."
            ) from error
        raise UserError(
            f"the processes cannot be joined ({brief(error)}): check --coordinator, "
            "--num_processes and --process_id, which is another one for each."
        ) from error


def _answers(address: str, seconds: float) -> bool:
    """Whether something takes connections at HOST:PORT, soon enough."""
    host, _, port = address.rpartition(":")
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=5):
            return True
        time.sleep(0.2)
    return False


def free_address() -> str:
    """A HOST:PORT that nothing uses, for processes of this machine alone."""
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        return f"localhost:{taken.getsockname()[1]}"


def _leave() -> None:
    """Waits for the others, however long they take, and parts from them."""
    multihost_utils.sync_global_devices("leave")
    _shut_down()


def _shut_down() -> None:
    # JAX waits for the others and, if they do not come, aborts this process with its last words.
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        jax.distributed.shutdown()


class _LastWords:
    """The sentence with which this process ends where JAX aborts it."""

    sentence = _LOST

    def say(self, _: int) -> NoReturn:
        # In a thread of JAX's, perhaps; the others may hold any lock.
        os.write(2, f"\nerror: {self.sentence}\n".encode())
        os._exit(2)


@contextlib.contextmanager
def _last_words() -> Iterator[_LastWords]:
    """Within the block an abort ends this process with a sentence and exit code 2.

    JAX aborts a process as soon as its coordinator is gone or another process has given no sign of
    life, from a thread of its own. Python's handlers of signals do not run then, hence C's.
    """
    words = _LastWords()
    libc = ctypes.CDLL(None)
    libc.signal.restype = ctypes.c_void_p
    libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(words.say)
    before = libc.signal(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))
    try:
        yield words
    finally:
        libc.signal(signal.SIGABRT, before)
