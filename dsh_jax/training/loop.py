"""The training loop: any method's stages, with validation, checkpoints and resumption."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from dsh_jax import hamming
from dsh_jax.checkpoints import METRIC
from dsh_jax.data import known_items, loading, targets
from dsh_jax.data.batches import make_batch
from dsh_jax.data.images.cache import CachedImages
from dsh_jax.data.prefetch import prefetch, stream
from dsh_jax.data.splits.split import save as save_split
from dsh_jax.data.targets import Targets
from dsh_jax.devices import Batch, compile_encode, compile_step, replicate, shard, unreplicate
from dsh_jax.encoder_files import describe, save_description
from dsh_jax.errors import UserError, as_user_error
from dsh_jax.files import remove_abandoned, write_json
from dsh_jax.forward import run_dataset
from dsh_jax.judge import Judge
from dsh_jax.methods.base import Method, Metrics, Stage, State, kept_variables
from dsh_jax.metrics import measure
from dsh_jax.report.markdown import table
from dsh_jax.report.names import short
from dsh_jax.retrieval.counts import distance_counts, without_self
from dsh_jax.retrieval.ranking import average_precision
from dsh_jax.rng import named_key
from dsh_jax.training import resuming
from dsh_jax.training.automatic import settled
from dsh_jax.training.blame import check_finite
from dsh_jax.training.experiment import Experiment, prepare
from dsh_jax.training.features import with_features
from dsh_jax.training.lock import WorkdirLock
from dsh_jax.training.progress import Progress, image_grid, save_png, say
from dsh_jax.training.saving import CheckpointWriter
from dsh_jax.training.speed import Speed
from dsh_jax.training.workdir import (
    as_dict,
    check_same_config,
    flatten,
    has_checkpoint,
    record_run,
)

SAMPLES_PER_CLASS = 10
IN_FLIGHT = 4
"""Steps that may wait on the devices: enough to keep them busy."""


def train(config: ConfigDict, workdir: Path, run: dict) -> State:
    """Trains, or resumes where an earlier call with the same workdir stopped.

    Args:
      config: of an experiment.
      workdir: gets `config.json`, `split.json`, `items.json`, `run.json`, `metrics.jsonl`,
        `tensorboard/`, `samples/` and `checkpoints/`; damaged checkpoints are moved to
        `damaged_checkpoints/`.
      run: command, hardware and versions, written to `run.json` (see `workdir.describe_run`).

    Returns:
      The state after the last step, without a device axis.

    Raises:
      UserError: before anything is written, a mistake in the config, the data or the workdir, or
        another training that is running there; later, a loss or parameter that is not finite,
        named with its step, a workdir that was deleted, or a disk that is full.
    """
    config = settled(config)
    with WorkdirLock(workdir) as lock:
        lock.take(create=False)
        is_ours = check_same_config(workdir, config, more_steps=True)
        resumes = is_ours and has_checkpoint(workdir)
        # What is not trained yet has no claim on how the data was when it began.
        experiment = prepare(config, workdir if resumes else None)
        is_ours = resumes or (is_ours and resuming.has_split(workdir, experiment.split))
        # Compiled as a whole: op by op it takes ten times as long.
        state = jax.jit(experiment.method.init)(jax.random.key(config.seed))
        checkpoints = CheckpointWriter(workdir / "checkpoints", keep=config.keep_checkpoints)
        start, state, seconds, damaged = checkpoints.resume(state)
        if start == 0 and experiment.method.prepare is not None:
            state = experiment.method.prepare(state, experiment.dataset, training_ids(experiment))
        say(_summary(experiment, state, start))
        before = resuming.raised_from(workdir, config) if resumes else None
        if before is not None:
            say(resuming.about_more_steps(config, state, start, before))
        if resumes and start < experiment.method.num_steps:
            say(*resuming.about_lost_items(workdir, experiment.split))
        learned = _learn_targets(experiment, workdir if is_ours else None)
        if start < experiment.method.num_steps:
            experiment, lines = with_features(experiment, state)
            say(*lines)

        lock.take(create=True)
        if (checkpoints.latest() or 0) > start and not damaged:
            raise UserError(f"{workdir} was trained meanwhile: run the same command again.")
        say(*checkpoints.set_aside(damaged))
        remove_abandoned(workdir)
        if not is_ours:
            _clear(workdir)
        if learned is not None and not (workdir / "targets.npz").exists():
            targets.save(learned, workdir / "targets.npz")
        _write_what_it_is(experiment, workdir, run, start, resumes=resumes)
        progress = Progress(
            workdir, step=start, num_steps=experiment.method.num_steps,
            shown={f"validation_{name}": name for name in experiment.metrics},
        )  # fmt: skip
        progress.text(start, "config", table(("field", "value"), flatten(as_dict(config)).items()))
        with lock.checked(), closing(checkpoints), closing(progress):
            trainer = _Trainer(experiment, workdir, checkpoints, progress, lock, seconds, learned)
            return trainer.fit(state) if experiment.method.fit else trainer.run(state, start)


def _clear(workdir: Path) -> None:
    """Removes what a run of another config left, first of all its config."""
    for name in ("config.json", "targets.npz", known_items.FILE):
        (workdir / name).unlink(missing_ok=True)
    for picture in (workdir / "samples").glob("step_*.png"):
        picture.unlink()


def _write_what_it_is(
    experiment: Experiment, workdir: Path, run: dict, step: int, *, resumes: bool
) -> None:
    """Writes the files that say what is trained, last of all the config."""
    split, config = experiment.split, experiment.config
    # A resumed run keeps the split as it was drawn: items that are gone may come back.
    if not (resumes and (workdir / "split.json").exists()):
        (workdir / known_items.FILE).unlink(missing_ok=True)
        save_split(split, workdir / "split.json")
        save_description(
            describe(config, experiment.signature, experiment.method.codes, split), workdir
        )
    if experiment.items is not None and not (workdir / known_items.FILE).exists():
        known_items.save(experiment.items, workdir / known_items.FILE)
    before = resuming.raised_from(workdir, config) if resumes else None
    say(*record_run(workdir / "run.json", run, step, len(experiment.devices)))
    if before is not None:
        resuming.record_more_steps(workdir / "run.json", step, before, config.num_steps)
    write_json(workdir / "config.json", as_dict(config))


def _learn_targets(experiment: Experiment, workdir: Path | None) -> Targets | None:
    """The target of each training item, learned unless the workdir has them as `targets.npz`."""
    learn, ids = experiment.method.learn_targets, training_ids(experiment)
    if learn is None:
        return None
    path = workdir and workdir / "targets.npz"
    if path is None or not path.exists():
        began = time.monotonic()
        with as_user_error():
            codes, report = learn(experiment.dataset, ids)
        say(f"targets     {report}; {time.monotonic() - began:.1f} s")
        return Targets(ids, codes)
    learned = targets.load(path)
    if not np.isin(ids, learned.ids).all():  # those of items that are gone are not used
        raise UserError(f"{path} is for other items than the split's; delete it to learn it again.")
    return learned


def _codes_and_logits(method: Method) -> Callable[[State, Batch], jax.Array]:
    """State, inputs -> relaxed codes and, if there is a classifier, its logits, side by side."""
    classify = method.network.classify

    def outputs(state: State, inputs: Batch) -> jax.Array:
        codes = method.encode(state, inputs)
        if classify is None:
            return codes
        return jnp.concatenate([codes, classify(kept_variables(state), inputs)], axis=1)

    return outputs


def training_ids(experiment: Experiment) -> np.ndarray:
    """Ids of the items in the stages' batches, `[n]`."""
    split = experiment.split
    if any(stage.batch.unlabeled_batch_size for stage in experiment.method.stages):
        return split.training
    return split.labeled


def _summary(experiment: Experiment, state: State, start: int) -> str:
    """Data, network and devices of a run, in a few lines."""
    dataset, split, devices = experiment.dataset, experiment.split, experiment.devices
    sizes = [
        f"{player} {sum(leaf.size for leaf in jax.tree.leaves(params)):,}"
        for player, params in state.params.items()
    ]
    stages = [f"{stage.name} {stage.num_steps:,}" for stage in experiment.method.stages]
    steps = f"steps       {', '.join(stages)}; starting at {start:,}"
    if experiment.method.fit is not None:
        steps = "steps       none: solved in closed form" + (", already" if start else "")
    return "\n".join(
        [
            *dataset.remarks(),
            *loading.remarks(experiment.config.data, dataset, split),
            f"data        {dataset.name} {dataset.version}, {split.protocol} "
            "(queries/labeled/database)",
            *([f"unseen      {short(', '.join(split.unseen), 200)}"] if split.unseen else []),
            f"training    {len(split.labeled):,} labeled, {len(split.unlabeled):,} unlabeled; "
            f"{len(split.validation):,} held back for validation",
            f"parameters  {', '.join(sizes)}",
            steps,
            f"devices     {len(devices)} x {devices[0].device_kind}",
        ]
    )


def stage_batches(
    experiment: Experiment, stage: Stage, steps: range, targets: Targets | None = None
) -> Iterator[Batch]:
    """The batches for some steps of a stage, made in the background and put on the devices."""

    def make(step: int) -> Batch:
        batch = make_batch(experiment.dataset, experiment.split, stage.batch, step, targets)
        return shard(batch, experiment.devices)

    if isinstance(getattr(experiment.dataset, "images", None), CachedImages):
        return stream(make, steps)  # decoded meanwhile, by several threads
    return prefetch(make, steps)


class _Trainer:
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
        self._pending: list[tuple[int, Metrics]] = []
        self._in_flight: deque[Metrics] = deque()
        self._speed = Speed()
        method, devices = experiment.method, experiment.devices
        self._outputs = compile_encode(_codes_and_logits(method), devices)
        self._learning_rates = method.learning_rates and jax.jit(method.learning_rates)
        self._synthesize = method.synthesize and jax.jit(method.synthesize)
        self._told: set[str] = set()  # metrics that have failed
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
                state = self._experiment.method.fit(dataset, split, report)
            stacked = replicate(state, self._experiment.devices)
            self._evaluate(int(state.step), stacked)
        return state

    def run(self, state: State, start: int) -> State:
        """Takes the steps from `start` on; neither `state` nor the result has a device axis."""
        stacked = replicate(state, self._experiment.devices)
        end = 0
        for stage in self._experiment.method.stages:
            first, end = max(start, end), end + stage.num_steps
            if first < end:
                stacked = self._run_stage(stage, stacked, first, end)
        return unreplicate(stacked)

    def _run_stage(self, stage: Stage, stacked: State, first: int, end: int) -> State:
        config, devices = self._experiment.config, self._experiment.devices
        step_fn = compile_step(stage.step, config.seed, devices)
        # Simulated CPU devices can deadlock when several steps are in flight.
        in_flight_is_safe = len(devices) == 1 or devices[0].platform != "cpu"
        batches = stage_batches(
            self._experiment, stage, range(first, end), self._targets
        )
        self._speed.pause()
        for step, batch in enumerate(batches, start=first + 1):
            if step == first + 1:
                with self._progress.stage(stage.name):
                    stacked, metrics = step_fn(stacked, batch)
            else:
                stacked, metrics = step_fn(stacked, batch)
            if not in_flight_is_safe:
                jax.block_until_ready(stacked)
            self._pending.append((step, metrics))
            self._in_flight.append(metrics)
            last = step == self._experiment.method.num_steps
            evaluate, log = step % config.eval_every_steps == 0, step % config.log_every_steps == 0
            self._wait(0 if evaluate or log or last else IN_FLIGHT)
            if evaluate or last:
                self._log()
                self._evaluate(step, stacked)
            elif log:
                self._log()
        return stacked

    def _wait(self, most: int) -> None:
        """Waits until at most so many steps are not finished, and counts those that are."""
        while len(self._in_flight) > most:
            jax.block_until_ready(self._in_flight.popleft())
            self._progress.advance()
            self._speed.step()

    def _log(self) -> None:
        """Fetches, checks and writes the metrics of the steps since the last call."""
        self._lock.check()
        if not self._pending:
            return
        steps = [step for step, _ in self._pending]
        rows = unreplicate([metrics for _, metrics in self._pending])
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
        validation_map, metrics = self._validate(stacked)
        if self._judge is not None and self._synthesize is not None:
            metrics |= self._judge(partial(self._synthesize, state))
        self._progress.write(step, {METRIC: validation_map, **metrics})
        if self._synthesize is not None:
            grid = self._sample_grid(state)
            save_png(self._workdir / "samples" / f"step_{step:07d}.png", grid)
            self._progress.image(step, "samples", grid)
        self._checkpoints.save(
            step, state, seconds=time.monotonic() - self._began, validation_map=validation_map
        )
        self._speed.pause()

    def _validate(self, stacked: State) -> tuple[float, dict[str, float]]:
        """mAP of the validation items among themselves, each left out of its own ranking.

        The second result has the user's own metrics, and the classifier's accuracy if items have
        one label.
        """
        experiment = self._experiment
        ids = experiment.split.validation
        num_bits = experiment.config.num_bits
        outputs = run_dataset(
            self._outputs, stacked, experiment.dataset, ids, finish=np.asarray,
            batch_size=experiment.config.encode_batch_size, devices=experiment.devices,
        )
        bits, logits = hamming.binarize(outputs[:, :num_bits]), outputs[:, num_bits:]
        codes = hamming.pack(bits)
        labels = experiment.dataset.labels[ids]
        counts = distance_counts(
            codes, labels, codes, labels, num_bits=num_bits, devices=experiment.devices
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
