"""Times a training step on one batch that stays on the device, and on real data as in training.

Their ratio is the cost of the data pipeline: about 1 if it keeps up (the aim is 1.1 at most).

    python benchmarks/train_step.py --config configs/cifar10_48bit_cpu.py [--stage joint]
        [--steps 20] [--rounds 5] [--result FILE] [--config.field=value]
"""

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import config_flags

# If run as a file, only this folder is on the path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dsh_jax import cli
from dsh_jax.data.targets import Targets
from dsh_jax.devices import Batch, compile_step, replicate
from dsh_jax.errors import UserError
from dsh_jax.files import write_json
from dsh_jax.methods.base import Stage, State
from dsh_jax.training import workdir
from dsh_jax.training.experiment import Experiment, prepare
from dsh_jax.training.loop import training_ids
from dsh_jax.training.trainer import stage_batches

WARM_UP = 3  # steps before each measurement: more than the pipeline prefetches during a pause

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment.")
_STAGE = flags.DEFINE_string("stage", "", "Only this stage of the method.")
_STEPS = flags.DEFINE_integer("steps", 20, "Steps per measurement.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Measurements of each kind.", lower_bound=1)
_RESULT = flags.DEFINE_string("result", "", "Also write the figures to this JSON file.")

Run = Callable[[State, Batch], tuple[State, Any]]


def seconds_per_step(
    run: Run, state: State, batches: Iterator[Batch], steps: int, *, wait: bool
) -> tuple[State, float]:
    """Takes `WARM_UP` steps and then `steps` timed ones; returns the state and seconds per step.

    Args:
      run: the compiled step.
      state: stacked over the devices; donated.
      batches: the batches to take.
      steps: how many are timed.
      wait: whether to wait for each step, as training does on simulated devices.
    """
    start = 0.0
    for number, batch in enumerate(islice(batches, WARM_UP + steps)):
        if number == WARM_UP:
            jax.block_until_ready(state)
            start = time.perf_counter()
        state, _ = run(state, batch)
        if wait:
            jax.block_until_ready(state)
    jax.block_until_ready(state)
    return state, (time.perf_counter() - start) / steps


def measure(experiment: Experiment, stage: Stage, *, steps: int, rounds: int) -> dict[str, Any]:
    """All figures of one stage.

    The two kinds of measurement alternate, so that changes in the machine's speed affect both; the
    ratio is the median of the rounds' ratios.

    Args:
      experiment: what is trained.
      stage: the stage to measure.
      steps: steps per measurement.
      rounds: measurements of each kind.

    Returns:
      Times in seconds, memory in bytes; images are real ones, read from the data set.
    """
    devices = experiment.devices
    wait = len(devices) > 1 and devices[0].platform == "cpu"
    state = experiment.method.init(jax.random.key(experiment.config.seed))
    state = replicate(state, devices)
    run = compile_step(stage.step, experiment.config.seed, devices)
    targets, learn = None, experiment.method.learn_targets
    if learn is not None:
        ids = training_ids(experiment)
        targets = Targets(ids, learn(experiment.dataset, ids)[0])
    fed = stage_batches(experiment, stage, range(sys.maxsize), targets)
    held = next(fed)
    images = sum(
        array.shape[0] * array.shape[1] for name, array in held.items() if name.endswith("image")
    )

    start = time.perf_counter()
    state, _ = jax.block_until_ready(run(state, held))
    first = time.perf_counter() - start
    seconds: dict[str, list[float]] = {"held": [], "fed": []}
    for number in range(rounds):
        pair = [("held", repeat(held)), ("fed", fed)]
        for kind, batches in pair if number % 2 else reversed(pair):
            state, taken = seconds_per_step(run, state, batches, steps, wait=wait)
            seconds[kind].append(taken)
    held_seconds, fed_seconds = (statistics.median(seconds[kind]) for kind in ("held", "fed"))
    ratios = [b / a for a, b in zip(seconds["held"], seconds["fed"], strict=True)]
    return {
        "stage": stage.name,
        "compile_seconds": first - held_seconds,
        "held_batch_step_seconds": held_seconds,
        "real_data_step_seconds": fed_seconds,
        "ratio": statistics.median(ratios),
        "images_per_step": images,
        "images_per_second": images / fed_seconds,
        "peak_device_bytes": (devices[0].memory_stats() or {}).get("peak_bytes_in_use"),
        "peak_process_bytes": _peak_process_bytes(),
        "all_seconds": seconds,
    }


def _peak_process_bytes() -> int:
    """Peak resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _line(row: dict[str, Any]) -> str:
    on_device = row["peak_device_bytes"]
    memory = "-" if on_device is None else f"{on_device / 2**20:,.0f}"
    return (
        f"{row['stage']:12}{row['compile_seconds']:10.1f}"
        f"{1e3 * row['held_batch_step_seconds']:12.2f}{1e3 * row['real_data_step_seconds']:12.2f}"
        f"{row['ratio']:8.3f}{row['images_per_second']:10,.0f}{memory:>13}"
        f"{row['peak_process_bytes'] / 2**20:14,.0f}"
    )


def _sentence(row: dict[str, Any]) -> str:
    return (
        f"{1e3 * row['real_data_step_seconds']:.0f} ms, {row['images_per_second']:,.0f} images/s; "
        f"{row['ratio']:.3f} x the time with one batch held in memory; "
        f"{row['compile_seconds']:.0f} s to compile; peak memory "
        f"{row['peak_process_bytes'] / 2**20:,.0f} MiB"
    )


def main(argv: Sequence[str]) -> None:
    """Prints one line per stage."""
    del argv
    with tempfile.TemporaryDirectory() as nowhere:
        experiment = prepare(_CONFIG.value, Path(nowhere))
    names = [stage.name for stage in experiment.method.stages]
    if _STAGE.value and _STAGE.value not in names:
        raise UserError(f"there is no stage {_STAGE.value!r}; --stage is one of {names}.")
    overrides = [argument for argument in sys.argv[1:] if argument.startswith("--config.")]
    about = workdir.describe_run(workdir.command_line(), overrides)
    print(f"{len(experiment.devices)} x {experiment.devices[0].device_kind}; milliseconds per step,"
          f" median of {_ROUNDS.value} x {_STEPS.value} steps; memory in MiB, so far")  # fmt: skip
    print(f"{'stage':12}{'compile s':>10}{'held batch':>12}{'real data':>12}{'ratio':>8}"
          f"{'images/s':>10}{'device peak':>13}{'process peak':>14}")  # fmt: skip
    rows = []
    for stage in experiment.method.stages:
        if _STAGE.value in ("", stage.name):
            rows.append(measure(experiment, stage, steps=_STEPS.value, rounds=_ROUNDS.value))
            print(_line(rows[-1]), flush=True)
    if _RESULT.value:
        name = Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
        figures = {f"{name}, stage {row['stage']}": _sentence(row) for row in rows}
        content = {"title": "A training step", "figures": figures, "run": about}
        write_json(Path(_RESULT.value), content)


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    cli.run(main)
