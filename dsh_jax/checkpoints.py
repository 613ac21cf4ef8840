"""Orbax checkpoints, written atomically in the background: the latest few and the best."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from dsh_jax.errors import UserError

METRIC = "validation_map"


class Checkpoints:
    """The checkpoints of one workdir.

    Args:
      directory: their folder; created with the first checkpoint.
      keep: how many of the latest to keep, in addition to the best by validation mAP.
      read_only: whether they are only read, possibly while a run writes them.

    Raises:
      UserError: the scores of a checkpoint are damaged.
    """

    def __init__(self, directory: Path, *, keep: int, read_only: bool = False) -> None:
        self._directory = directory.absolute()
        try:
            self._manager = ocp.CheckpointManager(
                self._directory,
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=policies.AnyPreservationPolicy(
                        [
                            policies.LatestN(keep),
                            policies.BestN(get_metric_fn=lambda m: m[METRIC], reverse=False, n=1),
                        ]
                    ),
                    best_fn=lambda m: m[METRIC],
                    create=not read_only,
                    read_only=read_only,
                ),
            )
        except ValueError as error:  # a metrics file that is not JSON
            raise UserError(
                f"the checkpoints in {self._directory} cannot be read ({error}); delete the "
                "damaged one to resume from an earlier one."
            ) from error

    @classmethod
    def of_workdir(cls, workdir: Path) -> "Checkpoints":
        """The checkpoints of a trained workdir, read-only.

        Raises:
          UserError: there is none yet.
        """
        directory = workdir / "checkpoints"
        if not directory.is_dir():
            raise UserError(f"{workdir} holds no checkpoint yet; run train.py --workdir {workdir}.")
        return cls(directory, keep=1, read_only=True)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def save(self, step: int, state: Any, *, seconds: float, validation_map: float) -> None:
        """Starts writing a checkpoint.

        Args:
          step: steps done.
          state: the tree, without a device axis.
          seconds: training time so far, from which a resumed run counts on.
          validation_map: the score that decides which is the best.
        """
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), clock=ocp.args.JsonSave({"seconds": seconds})
            ),
            metrics={METRIC: validation_map},
        )

    def latest(self) -> int | None:
        """Step of the latest complete checkpoint."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """Step of the checkpoint with the best validation mAP."""
        return self._manager.best_step()

    def find(self, which: str) -> int:
        """Step of the "best" or the "latest" checkpoint.

        Raises:
          UserError: there is none yet.
        """
        step = self.best() if which == "best" else self.latest()
        if step is None:
            workdir = self._directory.parent
            raise UserError(f"{workdir} holds no checkpoint yet; run train.py --workdir {workdir}.")
        return step

    def seconds(self, step: int) -> float:
        """Training time up to a checkpoint.

        Raises:
          UserError: the checkpoint is damaged.
        """
        try:
            args = ocp.args.Composite(clock=ocp.args.JsonRestore())
            return float(self._manager.restore(step, args=args)["clock"]["seconds"])
        except Exception as error:  # Orbax raises many types for a damaged file
            raise self._unreadable(step, error) from error

    def restore_kept(self, step: int, like: Any) -> dict[str, Any]:
        """Reads only the part of a checkpoint that encoding needs.

        Args:
          step: which.
          like: player -> collections, with shapes and dtypes.

        Returns:
          The same tree as NumPy arrays: the average if one is kept.

        Raises:
          UserError: the checkpoint is damaged or for another network.
        """
        path = self._directory / str(step) / "state"
        try:
            with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
                saved = reader.metadata(path).item_metadata.tree
                wanted: dict[str, Any] = {}
                for player, collections in like.items():
                    if player in saved["ema"]:
                        wanted.setdefault("ema", {})[player] = collections
                    else:
                        for name, tree in collections.items():
                            wanted.setdefault(name, {})[player] = tree
                restored = reader.restore(
                    path,
                    args=ocp.args.PyTreeRestore(
                        wanted,
                        restore_args=jax.tree.map(
                            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted
                        ),
                        partial_restore=True,
                    ),
                )
            kept = {
                player: restored["ema"][player]
                if player in restored.get("ema", {})
                else {name: restored[name][player] for name in collections}
                for player, collections in like.items()
            }
        except Exception as error:
            raise self._unreadable(step, error) from error
        self._check_shapes(step, kept, like)
        return kept

    def restore(self, step: int, like: Any) -> tuple[Any, float]:
        """Reads a checkpoint.

        Args:
          step: which.
          like: a tree of the same structure, shapes and dtypes.

        Returns:
          The tree as NumPy or JAX arrays, and the training time in seconds.

        Raises:
          UserError: the checkpoint is damaged or for another network.
        """
        target = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), like)
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(target),
                    clock=ocp.args.JsonRestore(),
                ),
            )
        except Exception as error:
            raise self._unreadable(step, error) from error
        self._check_shapes(step, restored["state"], like)
        return restored["state"], restored["clock"]["seconds"]

    def _unreadable(self, step: int, error: Exception) -> UserError:
        """The error for a damaged checkpoint; Orbax raises exceptions of many types."""
        return UserError(
            f"the checkpoint {self._directory / str(step)} cannot be read "
            f"({type(error).__name__}); delete that folder to resume from an earlier one."
        )

    def _check_shapes(self, step: int, found: Any, like: Any) -> None:
        """Checks the shapes, because Orbax returns the saved ones whatever was asked for."""
        for leaf, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(like), strict=True):
            if leaf.shape != wanted.shape or leaf.dtype != wanted.dtype:
                raise UserError(
                    f"the checkpoint {self._directory / str(step)} is for another network: it "
                    f"holds {leaf.shape} where the config has {wanted.shape}; restore config.json."
                )

    def wait(self) -> None:
        """Waits until every checkpoint is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and stops the background writer."""
        self._manager.close()
