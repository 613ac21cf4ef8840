"""Reads Orbax checkpoints, as `training.saving` writes them.

Each holds a record of itself beside the state (`checkpoint_records`): nothing is restored that
differs from what was saved.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from dsh_jax import checkpoint_records as records
from dsh_jax import hosts
from dsh_jax.checkpoint_records import Record, named
from dsh_jax.errors import UserError

METRIC = "validation_map"
_ATTEMPTS = 5
_PAUSE = 0.3  # seconds within which the files of a replaced checkpoint are gone


def multiprocessing() -> ocp.options.MultiprocessingOptions:
    """Lets Orbax read and write in this process by itself, whatever other ones do."""
    if hosts.count() == 1:
        return ocp.options.MultiprocessingOptions()
    own = hosts.index()
    return ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process_{own}"
    )


class DamagedCheckpoint(UserError):
    """A checkpoint that cannot be read, or is not what was saved.

    Attributes:
      folder: of the checkpoint.
    """

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"the checkpoint {folder} is damaged ({reason}): restore it from a copy, or run "
            "train.py again to resume from an earlier one."
        )
        self.folder, self.reason = folder, reason


def _reader(handler: Callable[..., Any]) -> ocp.Checkpointer:
    alone = multiprocessing()
    return ocp.Checkpointer(handler(multiprocessing_options=alone), multiprocessing_options=alone)


class Checkpoints:
    """The checkpoints of one workdir, which may be read while a run writes them.

    Args:
      directory: their folder.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending."""
        if not self._directory.is_dir():
            return []
        folders = [path for path in self._directory.iterdir() if path.is_dir()]
        return sorted(int(path.name) for path in folders if path.name.isdecimal())

    def latest(self) -> int | None:
        """Step of the latest complete checkpoint."""
        return max(self.steps(), default=None)

    def best(self) -> int | None:
        """Step of the checkpoint with the best validation mAP; of equals, the latest.

        One without a score is the best only where no other is.

        Raises:
          DamagedCheckpoint: the score of one is damaged.
        """
        scores = {step: self.record(step).score for step in self.steps()}
        return max(scores, key=lambda step: (scores[step], step), default=None)

    def find(self, which: str) -> int:
        """Step of the "best" or the "latest" checkpoint.

        Raises:
          UserError: there is none yet, or a score is damaged.
        """
        step = self.best() if which == "best" else self.latest()
        if step is None:
            workdir = self._directory.parent
            raise UserError(f"{workdir} holds no checkpoint yet; run train.py --workdir {workdir}.")
        return step

    def record(self, step: int) -> Record:
        """What a checkpoint says of itself.

        Raises:
          DamagedCheckpoint: it says nothing, or something else than when it was saved.
        """
        folder = self._folder(step)
        if not (folder / "record").is_dir():
            reason = "it has no checksums, or was written by version 0.1, which kept none"
            raise DamagedCheckpoint(folder, reason)
        try:
            with _reader(ocp.JsonCheckpointHandler) as reader:
                record = records.from_dict(reader.restore(folder / "record"))
        except Exception as error:  # Orbax raises many types for a damaged file
            raise DamagedCheckpoint(folder, "its record cannot be read") from error
        if record.step != step:
            raise DamagedCheckpoint(folder, f"it is of step {record.step}")
        return record

    def restore(self, step: int, like: Any) -> tuple[Any, float]:
        """Reads a checkpoint.

        Args:
          step: which.
          like: a tree of the same structure, shapes and dtypes.

        Returns:
          The tree as NumPy or JAX arrays, and the training time in seconds.

        Raises:
          DamagedCheckpoint: it is damaged.
          UserError: it is of another network.
        """
        record = self.record(step)
        self._check_network(record, named(like))
        target = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), like)
        try:
            with _reader(ocp.StandardCheckpointHandler) as reader:
                restored = reader.restore(
                    self._folder(step) / "state", args=ocp.args.StandardRestore(target)
                )
        except Exception as error:
            raise DamagedCheckpoint(self._folder(step), type(error).__name__) from error
        self._check_content(record, named(restored))
        return restored, record.seconds

    def read_kept(self, which: str, like: Any) -> tuple[Record, dict[str, Any]]:
        """Reads the part of the "best" or the "latest" checkpoint that encoding needs.

        A running training may replace the checkpoint meanwhile; then it is chosen again.

        Args:
          which: "best" or "latest".
          like: player -> collections, with shapes and dtypes.

        Returns:
          The checkpoint's record, and the same tree as NumPy arrays: the average if one is kept.

        Raises:
          UserError: there is no checkpoint; or it is damaged or of another network.
        """
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._read_kept(self.find(which), like)
            except DamagedCheckpoint as error:
                time.sleep(_PAUSE)
                if error.folder.is_dir():
                    raise
        return self._read_kept(self.find(which), like)

    def _read_kept(self, step: int, like: Any) -> tuple[Record, dict[str, Any]]:
        record = self.record(step)
        wanted: dict[str, Any] = {}
        for player, collections in like.items():
            if any(name.startswith(f"ema/{player}/") for name in record.leaves):
                wanted.setdefault("ema", {})[player] = collections
            else:
                for name, tree in collections.items():
                    wanted.setdefault(name, {})[player] = tree
        self._check_network(record, named(wanted))
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
        args = ocp.args.PyTreeRestore(wanted, restore_args=as_numpy, partial_restore=True)
        try:
            with _reader(ocp.PyTreeCheckpointHandler) as reader:
                restored = reader.restore(self._folder(step) / "state", args=args)
        except Exception as error:
            raise DamagedCheckpoint(self._folder(step), type(error).__name__) from error
        self._check_content(record, named(restored))
        return record, {
            player: restored["ema"][player]
            if player in wanted.get("ema", {})
            else {name: restored[name][player] for name in collections}
            for player, collections in like.items()
        }

    def _folder(self, step: int) -> Path:
        return self._directory / str(step)

    def _check_network(self, record: Record, wanted: Mapping[str, Any]) -> None:
        """Checks that a checkpoint has arrays of these names, types and shapes."""
        for name, leaf in wanted.items():
            found, kind = record.leaves.get(name, "nothing"), records.kind(leaf)
            if found.rpartition(" ")[0] != kind:
                raise UserError(
                    f"the checkpoint {self._folder(record.step)} is for another network: as {name} "
                    f"it holds {found}, where the config has {kind}; restore config.json."
                )

    def _check_content(self, record: Record, found: Mapping[str, Any]) -> None:
        for name, leaf in found.items():
            if records.digest(leaf) != record.leaves[name]:
                reason = f"the checksum of {name} does not fit"
                raise DamagedCheckpoint(self._folder(record.step), reason)
