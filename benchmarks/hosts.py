"""A step's time in one process, on two simulated devices, and in two processes.

    python -m benchmarks.hosts [--config configs/digits_16bit.py] [--rounds 7] [--steps 10]
        [--result FILE]

All take the last stage's step on the same batch of a data set, on the same cores, by turns; figures
are medians over the rounds, relative to one process. On one machine splitting a step can only cost:
the ratio says how much. Processor time, of all threads and processes, is the fairer measure where
other programs run.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

import jax

from benchmarks.results import write_result
from dsh_jax import cli
from dsh_jax.devices import compile_step, replicate
from dsh_jax.joining import Place, free_address, joined
from dsh_jax.training.experiment import prepare
from dsh_jax.training.trainer import stage_batches

ONE, SIMULATED, TWO = "1 process, 1 device", "1 process, 2 simulated devices", "2 processes"
Times = dict[str, list[float]]
"""By measure, a number for each round."""


def take_steps(config: str) -> None:
    """Takes as many steps as each line of the input says, and prints the seconds that one took."""
    experiment = prepare(cli.read_config(config), None)
    stage, devices = experiment.method.stages[-1], experiment.local_devices
    state = replicate(jax.jit(experiment.method.init)(jax.random.key(0)), devices)
    step = compile_step(stage.step, 0, experiment.devices)
    batch = next(stage_batches(experiment, stage, range(1)))
    for line in sys.stdin:
        steps, began, spent = int(line), time.perf_counter(), time.process_time()
        for _ in range(steps):
            state, _ = jax.block_until_ready(step(state, batch))
        taken = {"wall": time.perf_counter() - began, "processor": time.process_time() - spent}
        print(json.dumps({name: seconds / steps for name, seconds in taken.items()}), flush=True)


class Workers:
    """The processes of one arrangement.

    Args:
      config: the experiment's file.
      places: which of the processes each is; one without a coordinator is alone.
      num_devices: simulated ones, of each.
    """

    def __init__(self, config: str, places: Sequence[Place], num_devices: int) -> None:
        flags = f"--xla_force_host_platform_device_count={num_devices}"
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}",
        }  # fmt: skip
        command = [sys.executable, "-m", "benchmarks.hosts", f"--config={config}", "--worker"]
        self._processes = [
            subprocess.Popen(
                [*command, place.coordinator, str(place.process_id or 0)], env=environment,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for place in places
        ]  # fmt: skip

    def take(self, steps: int) -> Mapping[str, float]:
        """Seconds of one step: of the slower process, and of the processors in all of them."""
        for process in self._processes:
            print(steps, file=_pipe(process.stdin), flush=True)
        said = [self._answer(process) for process in self._processes]
        return {"wall": max(one["wall"] for one in said),
                "processor": sum(one["processor"] for one in said)}  # fmt: skip

    def end(self) -> None:
        """Lets the processes end."""
        for process in self._processes:
            _pipe(process.stdin).close()
        for process in self._processes:
            process.wait()

    @staticmethod
    def _answer(process: subprocess.Popen[str]) -> dict[str, float]:
        for line in _pipe(process.stdout):
            if line.startswith("{"):  # Gloo prints lines too
                return json.loads(line)
        raise RuntimeError(f"a process ended with exit code {process.wait()}")


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def measure(config: str, *, rounds: int, steps: int) -> dict[str, Times]:
    """The time of a step in each arrangement, in each round."""
    address = free_address()
    both = [Place(address, 2, number) for number in range(2)]
    workers = {ONE: Workers(config, [Place()], 1), SIMULATED: Workers(config, [Place()], 2),
               TWO: Workers(config, both, 1)}  # fmt: skip
    times: dict[str, Times] = {name: {"wall": [], "processor": []} for name in workers}
    for arrangement in workers.values():
        arrangement.take(2)  # compiles
    for number in range(rounds):
        order = list(workers) if number % 2 else list(reversed(workers))
        for name in order:
            for kind, seconds in workers[name].take(steps).items():
                times[name][kind].append(seconds)
    for arrangement in workers.values():
        arrangement.end()
    return times


def figures_of(times: Mapping[str, Times]) -> dict[str, str]:
    """The rows of the table."""
    one = times[ONE]
    said = {ONE: f"{1e3 * statistics.median(one['wall']):.1f} ms a step"}
    for name in (SIMULATED, TWO):
        wall, processor = (
            statistics.median(a / b for a, b in zip(times[name][kind], one[kind], strict=True))
            for kind in ("wall", "processor")
        )
        said[name] = f"{wall:.2f} x that; {processor:.2f} x its processor time"
    return said


def main() -> None:
    """Prints the figures, or works for a parent process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--config", default="configs/digits_16bit.py")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10, help="in a round")
    parser.add_argument("--result", type=Path, help="also write the figures to this JSON file")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        coordinator, number = arguments.worker
        together: Any = joined(Place(coordinator, 2, int(number))) if coordinator else nullcontext()
        with together:
            take_steps(arguments.config)
        return
    times = measure(arguments.config, rounds=arguments.rounds, steps=arguments.steps)
    figures = figures_of(times)
    for name, said in figures.items():
        print(f"{name:32}{said}")
    title = f"A step shared out ({Path(arguments.config).stem}, last stage)"
    write_result(arguments.result, title, figures, all_seconds=times)


if __name__ == "__main__":
    main()
