"""Orbax checkpoints: written beside and renamed, in the background; the last few and the best."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from dsh_jax.errors import UserError

METRIC = "validation_map"


class Checkpoints:
    """The checkpoints of one workdir.

    Args:
      directory: where they lie; made when the first is saved.
      keep: how many of the latest to keep, beside the best by validation mAP.
      read_only: whether they are only read, perhaps while a training writes them.

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
        except ValueError as error:  # a file of metrics that is no JSON
            raise UserError(
                f"the checkpoints in {self._directory} cannot be read ({error}); delete the "
                "damaged one to go on from an earlier one."
            ) from error

    def save(self, step: int, state: Any, *, seconds: float, validation_map: float) -> None:
        """Starts writing a checkpoint.

        Args:
          step: steps done.
          state: the tree, without a device axis.
          seconds: time trained so far, so that a resumed run's clock goes on.
          validation_map: the score by which the best is kept.
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

    def restore(self, step: int, like: Any) -> tuple[Any, float]:
        """Reads a checkpoint.

        Args:
          step: which.
          like: a tree of the same structure, shapes and dtypes.

        Returns:
          The tree as NumPy or JAX arrays, and the seconds trained.

        Raises:
          UserError: the checkpoint is damaged or of another network.
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
        except Exception as error:  # Orbax raises many kinds for a damaged file.
            raise UserError(
                f"the checkpoint {self._directory / str(step)} cannot be read "
                f"({type(error).__name__}); delete that folder to go on from an earlier one."
            ) from error
        # Orbax gives the saved shapes back, whatever was asked for.
        for found, wanted in zip(
            jax.tree.leaves(restored["state"]), jax.tree.leaves(like), strict=True
        ):
            if found.shape != wanted.shape or found.dtype != wanted.dtype:
                raise UserError(
                    f"the checkpoint {self._directory / str(step)} is of another network: it holds "
                    f"{found.shape} where the config asks for {wanted.shape}; restore config.json."
                )
        return restored["state"], restored["clock"]["seconds"]

    def wait(self) -> None:
        """Waits until every checkpoint is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and ends the background writer."""
        self._manager.close()
