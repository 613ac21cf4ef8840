"""What several processes must have in common before they train together."""

import hashlib
import importlib.metadata
import json
from pathlib import Path

import numpy as np

from dsh_jax import hosts
from dsh_jax.errors import UserError
from dsh_jax.training import calls
from dsh_jax.training.experiment import Experiment
from dsh_jax.training.workdir import FREE_FIELDS, as_dict, flatten


def check_supported(experiment: Experiment) -> None:
    """Refuses what only one process can do.

    Raises:
      UserError: the method is solved in closed form, or a profile is asked for.
    """
    if hosts.count() == 1:
        return
    config = experiment.config
    if experiment.method.fit is not None:
        raise UserError(
            f"method {config.method!r} is solved in closed form, by one process: set distributed "
            "to False."
        )
    if config.get("profile"):
        raise UserError("profile is for one process: set it or distributed to False.")


def check_same(experiment: Experiment, workdir: Path, start: int) -> None:
    """Checks that all processes train the same on the same data, from the same step on.

    Args:
      experiment: of this process.
      workdir: as it sees it.
      start: steps that its last checkpoint has done.

    Raises:
      UserError: they differ; names in what.
    """
    if hosts.count() == 1:
        return
    dataset, signature = experiment.dataset, experiment.signature
    fields = flatten(as_dict(experiment.config)).items()
    facts = {
        **{f"version of {name}": importlib.metadata.version(name) for name in ("jax", "flax",
           "optax")},
        **{name: str(value) for name, value in fields if name not in FREE_FIELDS},
        "data set": f"{dataset.name} {dataset.version}, {len(dataset):,} items",
        "set of labels": _digest(np.ascontiguousarray(dataset.labels).tobytes()),
        "signature of the data": _digest(json.dumps(signature.to_dict()).encode()),
        "split": f"{experiment.split.protocol}, {experiment.split.checksum[:12]}",
        "steps_per_call": str(calls.steps_per_call(experiment.config, experiment.devices)),
        "last checkpoint": f"step {start:,}",
        "state of targets.npz": "present" if (workdir / "targets.npz").exists() else "absent",
    }  # fmt: skip
    hosts.agree(facts, "give all of them the same config, data, packages and --workdir")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
