"""Saves Orbax checkpoints in the background, atomically: the latest few and the best."""

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from dsh_jax import checkpoint_records as records
from dsh_jax import hosts
from dsh_jax.checkpoint_records import Record, named
from dsh_jax.checkpoints import Checkpoints, DamagedCheckpoint, multiprocessing
from dsh_jax.errors import UserError

DAMAGED = "damaged_checkpoints"
"""The folder of a workdir that damaged checkpoints are moved to when training resumes."""


class CheckpointWriter(Checkpoints):
    """The checkpoints of one workdir, to be read and written by one training.

    Of several processes all call it, and process 0 writes.

    Args:
      directory: their folder; created with the first checkpoint.
      keep: how many of the latest to keep, in addition to the best by validation mAP.
    """

    def __init__(self, directory: Path, *, keep: int) -> None:
        super().__init__(directory)
        self._keep = keep
        self._scores: dict[int, float] = {}
        self._manager: ocp.CheckpointManager | None = None

    def save(
        self, step: int, state: Any, *, seconds: float, validation_map: float | None
    ) -> None:
        """Starts writing a checkpoint.

        Args:
          step: steps done.
          state: the tree, without a device axis.
          seconds: training time so far, from which a resumed run counts on.
          validation_map: the score that decides which is the best; None if it was not measured.

        Raises:
          UserError: parameters, statistics or averages are not finite; or this checkpoint or the
            one before cannot be written.
        """
        leaves = named(state)
        for name, leaf in leaves.items():
            kept = name.startswith(("params/", "batch_stats/", "ema/"))
            if kept and not np.isfinite(leaf).all():
                raise UserError(
                    f"{name} is not finite at step {step}, which is not saved: lower a learning "
                    "rate or set clip_norm, and start again in another --workdir."
                )
        if not hosts.is_first():
            return
        digests = {name: records.digest(leaf) for name, leaf in leaves.items()}
        score = None if validation_map is None else float(validation_map)
        record = Record(step, float(seconds), score, digests)
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record.to_dict())
        )
        with self._writing():
            if self._manager is None:
                self._manager = self._open()
            self._scores[step] = record.score
            self._manager.save(step, args=items)

    def resume(self, like: Any) -> tuple[int, Any, float, list[DamagedCheckpoint]]:
        """Reads the latest checkpoint that is whole; changes nothing.

        Args:
          like: as for `restore`; returned where there is no checkpoint.

        Returns:
          The step, the tree, the training time in seconds, and what was found to be damaged.

        Raises:
          UserError: all checkpoints are damaged, or one is of another network.
        """
        damaged = self._read_scores()
        for step in sorted(self._scores, reverse=True):
            try:
                state, seconds = self.restore(step, like)
            except DamagedCheckpoint as error:
                damaged.append(error)
                continue
            return step, state, seconds, damaged
        if damaged:
            raise UserError(
                f"no checkpoint in {self._directory} is whole ({damaged[0].folder.name}: "
                f"{damaged[0].reason}); restore one from a copy, or choose another --workdir."
            )
        return 0, like, 0.0, []

    def set_aside(self, damaged: Sequence[DamagedCheckpoint]) -> list[str]:
        """Moves damaged checkpoints away, so that their steps can be saved again.

        Returns:
          A line about each.
        """
        lines = []
        for error in damaged:
            place = self._directory.parent / DAMAGED / error.folder.name
            shutil.rmtree(place, ignore_errors=True)  # of the same step, from an earlier time
            place.parent.mkdir(exist_ok=True)
            error.folder.rename(place)
            self._scores.pop(int(error.folder.name), None)
            lines.append(f"damaged     checkpoint {error.folder.name} ({error.reason}) -> {place}")
        return lines

    def wait(self) -> None:
        """Waits until every checkpoint is on disk.

        Raises:
          UserError: one cannot be written.
        """
        if self._manager is not None:
            with self._writing():
                self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and stops the background writer.

        Raises:
          UserError: a checkpoint cannot be written.
        """
        manager, self._manager = self._manager, None
        if manager is not None:
            with self._writing():
                manager.close()

    def _read_scores(self) -> list[DamagedCheckpoint]:
        """Reads the score of every checkpoint, the latest first; returns what is damaged."""
        damaged = []
        for step in reversed(self.steps()):
            try:
                self._scores[step] = self.record(step).score
            except DamagedCheckpoint as error:
                damaged.append(error)
        return damaged

    def _open(self) -> ocp.CheckpointManager:
        self._read_scores()
        policy = _LatestAndBest(self._keep, self._scores)
        self._directory.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy, create=False, multiprocessing_options=multiprocessing()
        )
        return ocp.CheckpointManager(self._directory, options=options)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # from Orbax's threads, of many types
            # The cause is last: "Error writing A: Failed to write B: No space left [...]".
            cause = " ".join(str(error).split()).rpartition(": ")[2].partition(" [")[0]
            reason = cause.rstrip(".") or type(error).__name__
            raise UserError(
                f"a checkpoint in {self._directory} cannot be written ({reason}): free some space "
                "or get leave to write there, and run the same command again to resume."
            ) from error


class _LatestAndBest(policies.PreservationPolicy):
    """Which checkpoints Orbax keeps: the latest few and the best; of equals, the latest."""

    def __init__(self, keep: int, scores: Mapping[int, float]) -> None:
        self._keep, self._scores = keep, scores

    def should_preserve(
        self, checkpoints: Sequence[Any], *, context: Any
    ) -> Sequence[bool]:
        del context
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = set(sorted(steps)[-self._keep :])
        if steps:
            kept.add(max(steps, key=lambda step: (self._scores.get(step, -1.0), step)))
        return [step in kept for step in steps]
