"""Training from a config: checks, resumption, and the files that say what is trained."""

import math
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from dsh_jax import database_codes, hosts
from dsh_jax.data import known_items, targets
from dsh_jax.data.splits import drawing
from dsh_jax.data.splits.split import save as save_split
from dsh_jax.data.targets import Targets
from dsh_jax.encoder_files import describe, save_description
from dsh_jax.errors import UserError, as_user_error
from dsh_jax.files import remove_abandoned, write_json
from dsh_jax.methods.base import State
from dsh_jax.report.markdown import table
from dsh_jax.report.names import short
from dsh_jax.training import agreement, resuming
from dsh_jax.training.automatic import settled
from dsh_jax.training.experiment import Experiment, prepare
from dsh_jax.training.features import with_features
from dsh_jax.training.lock import WorkdirLock
from dsh_jax.training.progress import NoProgress, Progress, say
from dsh_jax.training.saving import CheckpointWriter
from dsh_jax.training.trainer import Trainer
from dsh_jax.training.workdir import (
    as_dict,
    check_same_config,
    flatten,
    has_checkpoint,
    record_run,
)


def train(config: ConfigDict, workdir: Path, run: dict) -> State:
    """Trains, or resumes where an earlier call with the same workdir stopped.

    After Ctrl-C, SIGTERM or `max_minutes` it saves a checkpoint at the next step and ends; a run
    that is then resumed ends like one that never stopped. Several processes (`joining.joined`) call
    it alike; process 0 writes.

    Args:
      config: of an experiment.
      workdir: gets `config.json`, `split.json`, `items.json`, `run.json`, `metrics.jsonl`,
        `tensorboard/`, `samples/`, `checkpoints/`, and what its method learns beside; damaged
        checkpoints are moved to `damaged_checkpoints/`.
      run: command, hardware and versions, written to `run.json` (see `workdir.describe_run`).

    Returns:
      The state after the last step, without a device axis.

    Raises:
      UserError: before anything is written, a mistake in the config, the data or the workdir, data
        that differs between processes, or another training that is running there; later, a loss or
        parameter that is not finite, named with its step, a workdir that was deleted, or a disk
        that is full.
      Stopped: it was asked to stop, or its time was up; what was done is saved.
    """
    began = time.monotonic()
    config = settled(config)
    with WorkdirLock(workdir) as lock:
        if hosts.is_first():
            lock.take(create=False)
        is_ours = check_same_config(workdir, config, more_steps=True)
        resumes = is_ours and has_checkpoint(workdir)
        # What is not trained yet has no claim on how the data was when it began.
        experiment = prepare(config, workdir if resumes else None)
        agreement.check_supported(experiment)
        is_ours = resumes or (is_ours and resuming.has_split(workdir, experiment.split))
        # Compiled as a whole: op by op it takes ten times as long.
        state = jax.jit(experiment.method.init)(jax.random.key(config.seed))
        checkpoints = CheckpointWriter(workdir / "checkpoints", keep=config.keep_checkpoints)
        start, state, seconds, damaged = checkpoints.resume(state)
        if start == 0 and experiment.method.prepare is not None:
            state = experiment.method.prepare(state, experiment.dataset, training_ids(experiment))
        agreement.check_same(experiment, workdir, start)
        state = hosts.from_first(state)
        say(_summary(experiment, state, start))
        before = resuming.raised_from(workdir, config) if resumes else None
        if before is not None:
            say(resuming.about_more_steps(config, state, start, before))
        if resumes and start < experiment.method.num_steps:
            say(*resuming.about_lost_items(workdir, experiment.split))
        learned = _learn_targets(experiment, workdir if is_ours else None)
        if start < experiment.method.num_steps:
            experiment, lines = hosts.first_alone(partial(with_features, experiment, state))
            say(*lines)

        if hosts.is_first():
            lock.take(create=True)
        hosts.check_shared(workdir)
        progress: Progress = NoProgress()
        if hosts.is_first():
            if (checkpoints.latest() or 0) > start and not damaged:
                raise UserError(f"{workdir} was trained meanwhile: run the same command again.")
            say(*checkpoints.set_aside(damaged))
            remove_abandoned(workdir)
            if not is_ours:
                _clear(workdir)
            if learned is not None and not (workdir / "targets.npz").exists():
                targets.save(learned, workdir / "targets.npz")
            _write_what_it_is(experiment, workdir, run, start, resumes=resumes)
            progress = _progress(experiment, workdir, start)
        with lock.checked(), closing(checkpoints), closing(progress):
            trainer = Trainer(experiment, workdir, checkpoints, progress, lock, seconds, learned)
            if experiment.method.fit:
                return trainer.fit(state)
            minutes = config.get("max_minutes", 0)
            ends = began + 60 * minutes if minutes else math.inf
            with hosts.stopping(lambda: time.monotonic() >= ends) as stops:
                return trainer.run(state, start, stops)


def _progress(experiment: Experiment, workdir: Path, start: int) -> Progress:
    progress = Progress(
        workdir, step=start, num_steps=experiment.method.num_steps,
        shown={f"validation_{name}": name for name in experiment.metrics},
    )  # fmt: skip
    fields = flatten(as_dict(experiment.config)).items()
    progress.text(start, "config", table(("field", "value"), fields))
    return progress


def _clear(workdir: Path) -> None:
    """Removes what a run of another config left, first of all its config."""
    for name in ("config.json", "targets.npz", database_codes.FILE, known_items.FILE):
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
        codes = hosts.from_first(codes)
        say(f"targets     {report}; {time.monotonic() - began:.1f} s")
        return Targets(ids, codes)
    learned = targets.load(path)
    if not np.isin(ids, learned.ids).all():  # those of items that are gone are not used
        raise UserError(f"{path} is for other items than the split's; delete it to learn it again.")
    return learned


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
            *drawing.remarks(experiment.config.data, dataset, split),
            f"data        {dataset.name} {dataset.version}, {split.protocol} "
            "(queries/labeled/database)",
            *([f"unseen      {short(', '.join(split.unseen), 200)}"] if split.unseen else []),
            f"training    {len(split.labeled):,} labeled, {len(split.unlabeled):,} unlabeled; "
            f"{len(split.validation):,} held back for validation",
            f"parameters  {', '.join(sizes)}",
            steps,
            f"devices     {len(devices)} x {devices[0].device_kind}"
            + (f", of {hosts.count()} processes" if hosts.count() > 1 else ""),
        ]
    )
