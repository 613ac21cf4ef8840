"""One call of training: its steps, validation and checkpoints, for any method."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from dsh_jax import database_codes, encoder_files, hamming, hosts, interrupt
from dsh_jax.checkpoints import METRIC
from dsh_jax.data.images.cache import CachedImages
from dsh_jax.data.prefetch import prefetch, stream
from dsh_jax.data.targets import Targets
from dsh_jax.devices import Batch, compile_encode, replicate, unreplicate
from dsh_jax.errors import UserError, as_user_error
from dsh_jax.forward import run_dataset
from dsh_jax.judge import Judge
from dsh_jax.methods.base import Method, Metrics, Stage, State, kept_variables
from dsh_jax.metrics import measure
from dsh_jax.retrieval.counts import distance_counts, without_self
from dsh_jax.retrieval.ranking import average_precision
from dsh_jax.rng import named_key
from dsh_jax.training import calls
from dsh_jax.training.blame import check_finite
from dsh_jax.training.experiment import Experiment
from dsh_jax.training.lock import WorkdirLock
from dsh_jax.training.profiling import Profiler
from dsh_jax.training.progress import Progress, image_grid, save_png, say
from dsh_jax.training.saving import CheckpointWriter
from dsh_jax.training.speed import Speed

SAMPLES_PER_CLASS = 10
IN_FLIGHT = 4
"""Steps that may wait on the devices: enough to keep them busy."""


def _codes_and_logits(method: Method) -> Callable[[State, Batch], jax.Array]:
    """State, inputs -> relaxed codes and, if there is a classifier, its logits, side by side."""
    classify = method.network.classify

    def outputs(state: State, inputs: Batch) -> jax.Array:
        codes = method.encode(state, inputs)
        if classify is None:
            return codes
        return jnp.concatenate([codes, classify(kept_variables(state), inputs)], axis=1)

    return outputs


def stage_batches(
    experiment: Experiment,
    stage: Stage,
    steps: range,
    targets: Targets | None = None,
    *,
    size: int = 1,
    by_row: bool = False,
) -> Iterator[Batch]:
    """The batches for some steps of a stage, made in the background and put on the devices.

    Of several processes each makes what its own devices take.

    Args:
      experiment, stage, steps: whose batches.
      targets: of the training items, if the method learns any.
      size: steps in a call, as for `calls.grouped`.
      by_row: whether batches hold rows of the data set in place of items.
    """
    make = partial(calls.make_group, experiment, stage, targets=targets, by_row=by_row)
    # A list of single steps could be endless.
    groups = None if size == 1 else list(calls.grouped(steps.start, steps.stop, size))

    def make_at(place: int) -> Batch:
        return make(range(place, place + 1) if groups is None else groups[place])

    places = steps if groups is None else range(len(groups))
    if isinstance(getattr(experiment.dataset, "images", None), CachedImages):
        return stream(make_at, places)  # decoded meanwhile, by several threads
    return prefetch(make_at, places)


def _of_steps(metrics: Mapping[str, Any], count: int) -> list[Mapping[str, Any]]:
    """The metrics of each step of a call; those of several steps are `[steps]`."""
    if count == 1:
        return [metrics]
    return [{name: values[step] for name, values in metrics.items()} for step in range(count)]


class Trainer:
    """The state of one call of `train`."""

    def __init__(
        self,
        experiment: Experiment,
        workdir: Path,
        checkpoints: CheckpointWriter,
        progress: Progress,
        lock: WorkdirLock,
        seconds: float,
        learned: Targets | None,
    ) -> None:
        self._experiment = experiment
        self._workdir = workdir
        self._checkpoints = checkpoints
        self._progress = progress
        self._lock = lock
        self._targets = learned
        self._began = time.monotonic() - seconds
        self._pending: list[tuple[range, Metrics]] = []
        self._in_flight: deque[tuple[range, Metrics]] = deque()
        self._num_calls = 0
        self._speed = Speed()
        method, self._devices = experiment.method, experiment.local_devices
        self._steps_per_call = calls.steps_per_call(experiment.config, experiment.devices)
        items = calls.resident_items(experiment.config, experiment.dataset, experiment.devices)
        self._items = calls.put_items(items, self._devices)
        self._outputs = compile_encode(_codes_and_logits(method), self._devices)
        self._learning_rates = method.learning_rates and jax.jit(method.learning_rates)
        self._synthesize = method.synthesize and jax.jit(method.synthesize)
        self._told: set[str] = set()  # metrics that have failed
        is_profiled = experiment.config.get("profile", False)
        self._profiler = Profiler(workdir / "profile") if is_profiled else None
        self._judge = None
        if experiment.judge is not None:
            self._judge = Judge(experiment.judge, experiment.dataset, experiment.split)

    def fit(self, state: State) -> State:
        """Solves a method in closed form, unless `state` shows that an earlier call did."""
        dataset, split = self._experiment.dataset, self._experiment.split
        assert self._experiment.method.fit is not None
        if not int(state.step):

            def report(iteration: int, metrics: Mapping[str, float]) -> None:
                self._progress.advance()
                self._progress.write(iteration, metrics)

            with as_user_error():
                fitted = self._experiment.method.fit(dataset, split, report)
            state = fitted.state
            if fitted.codes is not None:
                self._lock.check()
                codes = Targets(split.training, fitted.codes)
                database_codes.save(codes, self._fingerprint(state), self._workdir)
            stacked = replicate(state, self._devices)
            self._evaluate(int(state.step), stacked)
        return state

    def _fingerprint(self, state: State) -> str:
        """Of the encoder that a workdir with this state has."""
        experiment = self._experiment
        description = encoder_files.describe(
            experiment.config, experiment.signature, experiment.method.codes, experiment.split
        )
        return encoder_files.fingerprint(description, kept_variables(state))

    def run(self, state: State, start: int, stops: Callable[[int], bool]) -> State:
        """Takes the steps from `start` on; neither `state` nor the result has a device axis.

        Raises:
          Stopped: `stops` was true after a call, whose number it gets, that was not the last.
        """
        stacked = replicate(state, self._devices)
        end = 0
        with closing(self._profiler) if self._profiler is not None else nullcontext():
            for stage in self._experiment.method.stages:
                first, end = max(start, end), end + stage.num_steps
                if first < end:
                    stacked = self._run_stage(stage, stacked, first, end, stops)
        return unreplicate(stacked)

    def _run_stage(
        self, stage: Stage, stacked: State, first: int, end: int, stops: Callable[[int], bool]
    ) -> State:
        config, devices = self._experiment.config, self._experiment.devices
        taken = calls.compile_calls(self._experiment, stage, self._items)
        # Simulated CPU devices can deadlock when several steps are in flight.
        in_flight_is_safe = len(devices) == 1 or devices[0].platform != "cpu"
        size, by_row = self._steps_per_call, self._items is not None
        batches = stage_batches(
            self._experiment, stage, range(first, end), self._targets, size=size, by_row=by_row
        )
        self._speed.pause()
        for group, batch in zip(calls.grouped(first, end, size), batches, strict=True):
            step = group.stop
            if self._profiler is not None:
                number = step - first - 1
                say(*self._profiler.before_step(number, stage.name, taken.single, stacked, batch))
            with self._progress.stage(stage.name) if group.start == first else nullcontext():
                stacked, metrics = taken(stacked, group, batch)
            if not in_flight_is_safe:
                jax.block_until_ready(stacked)
            self._pending.append((group, metrics))
            self._in_flight.append((group, metrics))
            self._num_calls += 1
            last = step == self._experiment.method.num_steps
            evaluate, log = step % config.eval_every_steps == 0, step % config.log_every_steps == 0
            self._wait(0 if evaluate or log or last else IN_FLIGHT)
            if evaluate or last:
                self._log()
                self._evaluate(step, stacked)
            elif log:
                self._log()
            if not last and stops(self._num_calls):
                self._stop(step, stacked, saved=evaluate)
        return stacked

    def _stop(self, step: int, stacked: State, *, saved: bool) -> NoReturn:
        """Saves a checkpoint, unless there is one of this step, and ends the training."""
        self._wait(0)
        self._log()
        if not saved:
            self._save(step, unreplicate(stacked), None)
        self._checkpoints.wait()
        num_steps = self._experiment.method.num_steps
        raise interrupt.Stopped(
            f"{interrupt.STOPPED_AT} {step:,} of {num_steps:,}, which is saved; {interrupt.RESUME}"
        )

    def _wait(self, most: int) -> None:
        """Waits until at most so many steps are not finished, and counts those that are."""
        while len(self._in_flight) > most:
            group, metrics = self._in_flight.popleft()
            jax.block_until_ready(metrics)
            self._progress.advance(len(group))
            self._speed.count(len(group))

    def _log(self) -> None:
        """Fetches, checks and writes the metrics of the steps since the last call."""
        self._lock.check()
        if not self._pending:
            return
        steps = [step + 1 for group, _ in self._pending for step in group]
        fetched = unreplicate([metrics for _, metrics in self._pending])
        rows = [row for (group, _), of_call in zip(self._pending, fetched, strict=True)
                for row in _of_steps(of_call, len(group))]  # fmt: skip
        self._pending.clear()
        for step, row in zip(steps, rows, strict=True):
            problem = check_finite(self._experiment.config, self._experiment.signature, step, row)
            if problem:
                raise UserError(problem)
        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        clocks = self._speed.metrics() | {"seconds": time.monotonic() - self._began}
        self._progress.write(steps[-1], means | self._rates(steps[-1], means) | clocks)

    def _rates(self, step: int, metrics: Mapping[str, float]) -> dict[str, float]:
        """The learning rate at a step of each optimizer that has metrics then."""
        if self._learning_rates is None:
            return {}
        rates = {f"{name}/": float(rate) for name, rate in self._learning_rates(step).items()}
        return {
            f"{prefix}learning_rate": rate
            for prefix, rate in rates.items()
            if any(name.startswith(prefix) for name in metrics)
        }

    def _evaluate(self, step: int, stacked: State) -> None:
        """Validation mAP, a grid of synthetic images, what their judge says, and a checkpoint."""
        self._lock.check()
        state = unreplicate(stacked)
        outputs = self._encode_validation(stacked)
        if not hosts.is_first():
            return
        validation_map, metrics = self._validate(outputs)
        if self._judge is not None and self._synthesize is not None:
            metrics |= self._judge(partial(self._synthesize, state))
        self._progress.write(step, {METRIC: validation_map, **metrics})
        if self._synthesize is not None:
            grid = self._sample_grid(state)
            save_png(self._workdir / "samples" / f"step_{step:07d}.png", grid)
            self._progress.image(step, "samples", grid)
        self._save(step, state, validation_map)
        self._speed.pause()

    def _save(self, step: int, state: State, validation_map: float | None) -> None:
        seconds = time.monotonic() - self._began
        self._checkpoints.save(step, state, seconds=seconds, validation_map=validation_map)

    def _encode_validation(self, stacked: State) -> np.ndarray:
        """Relaxed codes and logits of the validation items, shared out over the processes."""
        experiment, size = self._experiment, self._experiment.config.encode_batch_size

        def encode(ids: np.ndarray) -> np.ndarray:
            return run_dataset(
                self._outputs, stacked, experiment.dataset, ids, finish=np.asarray,
                batch_size=size, devices=self._devices,
            )  # fmt: skip

        return hosts.shared_out(encode, experiment.split.validation, unit=size)

    def _validate(self, outputs: np.ndarray) -> tuple[float, dict[str, float]]:
        """mAP of the validation items among themselves, each left out of its own ranking.

        The second result has the user's own metrics, and the classifier's accuracy if items have
        one label.
        """
        experiment = self._experiment
        ids = experiment.split.validation
        num_bits = experiment.config.num_bits
        bits, logits = hamming.binarize(outputs[:, :num_bits]), outputs[:, num_bits:]
        codes = hamming.pack(bits)
        labels = experiment.dataset.labels[ids]
        counts = distance_counts(
            codes, labels, codes, labels, num_bits=num_bits, devices=self._devices
        )
        own, problems = measure(experiment.metrics, bits, labels)
        metrics = {f"validation_{name}": value for name, value in own.items()}
        say(*(problem for name, problem in problems.items() if name not in self._told))
        self._told |= problems.keys()
        if logits.size and labels.ndim == 1:
            metrics["validation_accuracy"] = float(np.mean(logits.argmax(axis=1) == labels))
        return float(average_precision(without_self(counts, labels)).mean()), metrics

    def _sample_grid(self, state: State) -> np.ndarray:
        """Synthetic images, one row per class, from the same noise at every evaluation."""
        num_classes = len(self._experiment.dataset.class_names)
        label = np.eye(num_classes, dtype=np.float32).repeat(SAMPLES_PER_CLASS, axis=0)
        key = named_key(jax.random.key(self._experiment.config.seed), "samples")
        assert self._synthesize is not None
        return image_grid(np.asarray(self._synthesize(state, key, label)), SAMPLES_PER_CLASS)
