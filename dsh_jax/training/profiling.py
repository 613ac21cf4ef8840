"""Where the time of a step goes: a trace of a few steps, and its largest parts in words."""

import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from dsh_jax.errors import UserError

WARM_UP = 10
"""Steps of a stage before the trace: the first compiles, and the next ones fill caches."""
STEPS = 10
"""Steps in a trace."""
PARTS = 5
"""Parts that are told."""

# %name = shape opcode(operands), ..., metadata={op_name="..."}. What a loop holds counts, not it.
_INSTRUCTION = re.compile(r'%?([\w.\-]+) = .*? ([a-z][a-z\-]*)\(.*?op_name="([^"]*)"')
_RANDOM = re.compile("threefry|randint|bernoulli|uniform|normal")
_CONTROL = ("while", "cond", "scan", "body", "closed_call")
_CONTAINERS = ("while", "conditional", "call")


class Profiler:
    """Traces some steps of each stage, where asked to."""

    def __init__(self, folder: Path) -> None:
        """Empties the folder of the traces.

        Raises:
          UserError: it cannot be written.
        """
        self._folder = folder
        self._began: float | None = None  # seconds, while a trace is under way
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        except OSError as error:
            raise UserError(
                f"{folder} cannot be written ({error.strerror}); set profile to False, or give "
                "another --workdir."
            ) from error

    def close(self) -> None:
        """Ends a trace that is under way, of a stage that ended before it."""
        if self._began is not None:
            jax.profiler.stop_trace()
            self._began = None

    def before_step(
        self, number: int, stage: str, step_fn: Any, stacked: Any, batch: Any
    ) -> list[str]:
        """Begins or ends the trace of a stage, if it is time.

        Args:
          number: of the step within this call's steps of the stage, from 0.
          stage: its name.
          step_fn: the compiled step.
          stacked, batch: its arguments.

        Returns:
          What the trace says, as one text, after its last step; else nothing.
        """
        if number == 0:
            self.close()  # that of a stage with fewer steps
        if number == WARM_UP:
            jax.block_until_ready(stacked)
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0
            jax.profiler.start_trace(self._folder / stage, profiler_options=options)
            self._began = time.perf_counter()
        if number != WARM_UP + STEPS or self._began is None:
            return []
        jax.block_until_ready(stacked)
        taken = (time.perf_counter() - self._began) / STEPS
        self.close()
        folder = self._folder / stage
        (trace,) = folder.rglob("*.xplane.pb")
        shares = largest_parts(durations(trace), step_fn.lower(stacked, batch).compile().as_text())
        lines = [f"            {100 * share:4.1f} %  {part}" for part, share in shares[:PARTS]]
        first = f"profile     {stage}: {1000 * taken:.1f} ms a step; trace in {folder}"
        return ["\n".join([first, *lines])]


def durations(trace: Path) -> Counter[str]:
    """Nanoseconds of each of a program's operations in a trace, over all its devices."""
    found: Counter[str] = Counter()
    for event in _events(trace):
        operation = dict(event.stats).get("hlo_op")
        if operation is not None:
            found[str(operation)] += int(event.duration_ns)
    return found


def _events(trace: Path) -> Iterator[Any]:
    for plane in jax.profiler.ProfileData.from_file(str(trace)).planes:
        for line in plane.lines:
            yield from line.events


def largest_parts(taken: Counter[str], compiled: str) -> list[tuple[str, float]]:
    """Parts of a step and their shares of its operations' time, largest first.

    Args:
      taken: operation -> time.
      compiled: the compiled program's text, which says what its operations belong to.
    """
    parts: Counter[str] = Counter()
    for line in compiled.splitlines():
        found = _INSTRUCTION.search(line)
        if found and found[2] not in _CONTAINERS and found[1] in taken:
            parts[part_of(found[3])] += taken[found[1]]
    total = parts.total()
    return [(part, time / total) for part, time in parts.most_common()]


def part_of(operation: str) -> str:
    """What an operation belongs to, in words.

    Args:
      operation: as JAX names it: "jit(f)/hash/transpose(jvp(Conv3))/Conv_0/dot_general" is
        "hash: gradient of Conv3".
    """
    if _RANDOM.search(operation):
        return "random numbers"
    *scopes, primitive = operation.split("/")
    named = (scope for scope in scopes if scope.isidentifier() and scope.islower())
    update = next((scope for scope in named if scope not in _CONTROL), "others")
    network = next((scope for scope in scopes if "jvp(" in scope), None)
    if network is None:
        return f"{update}: {primitive}"
    name = re.sub(r"^.*\(|\)+$", "", network) or "loss"
    return f"{update}: {'gradient of ' * network.startswith('transpose(')}{name}"
