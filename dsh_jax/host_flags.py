"""The flags by which the processes of one training or evaluation find each other."""

import contextlib
from collections.abc import Iterator

from absl import flags

from dsh_jax.errors import UserError

_COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "Of several processes: HOST:PORT of process 0. Not needed in SLURM, Open "
    "MPI, Kubernetes and on Cloud TPU.",
)  # fmt: skip
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Of several processes: how many. Needed with --coordinator.",
    lower_bound=1,
)  # fmt: skip
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Of several processes: which this one is, from 0. Needed with "
    "--coordinator.", lower_bound=0,
)  # fmt: skip


def joined(
    distributed: bool, switch: str, *, takes_requests: bool
) -> contextlib.AbstractContextManager[None]:
    """What to run in: together with the other processes, or alone. See `joining.joined`.

    Args:
      distributed: whether there are other processes.
      switch: the flag that says so.
      takes_requests: whether SIGTERM is a request to stop.

    Raises:
      UserError: the flags do not fit together.
    """
    given = {"coordinator": _COORDINATOR.value or None, "num_processes": _NUM_PROCESSES.value,
             "process_id": _PROCESS_ID.value}  # fmt: skip
    names = [f"--{name}" for name, value in given.items() if value is not None]
    missing = [f"--{name}" for name, value in given.items() if value is None]
    if not distributed:
        if names:
            raise UserError(f"{names[0]} is for several processes; add {switch}, or leave it out.")
        return contextlib.nullcontext()
    if names and missing:
        raise UserError(
            f"{' and '.join(missing)} must be given with {names[0]}; or leave all three out, where "
            "the cluster says which processes there are."
        )
    host, _, port = (_COORDINATOR.value or "localhost:1").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(f"--coordinator is {_COORDINATOR.value!r}; write it as HOST:PORT.")
    number, which = _NUM_PROCESSES.value, _PROCESS_ID.value
    if number is not None and which is not None and which >= number:
        raise UserError(
            f"--process_id is {which}; of {number} processes it is from 0 to {number - 1}."
        )
    return _joined(takes_requests)


@contextlib.contextmanager
def _joined(takes_requests: bool) -> Iterator[None]:
    from dsh_jax import joining  # imports JAX, which --help does without

    place = joining.Place(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    with joining.joined(place, takes_requests=takes_requests):
        yield
