"""What a checkpoint says of itself: scores, and a checksum of every array."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np


@dataclass(frozen=True)
class Record:
    """What a checkpoint says of itself.

    Attributes:
      step: steps done.
      seconds: training time.
      validation_map: the score that decides which checkpoint is the best; None for one that was
        saved because training was stopped.
      leaves: path of each array of the state -> its type, shape and SHA-256.
    """

    step: int
    seconds: float
    validation_map: float | None
    leaves: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, with a checksum of everything else in it."""
        return asdict(self) | {"checksum": self._checksum}

    @property
    def score(self) -> float:
        """The validation mAP; below any other where there is none."""
        return -1.0 if self.validation_map is None else self.validation_map

    @property
    def _checksum(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def from_dict(content: Any) -> Record:
    """The inverse of `Record.to_dict`.

    Raises:
      ValueError: the content was changed.
    """
    try:
        fields = {name: value for name, value in content.items() if name != "checksum"}
        record = Record(**fields)
        checksum = content["checksum"]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("it is no record of a checkpoint") from error
    if record._checksum != checksum:
        raise ValueError("its record was changed")
    return record


def named(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their paths, e.g. `params/hash/Dense_0/kernel`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def kind(leaf: Any) -> str:
    """Type and shape, of an array or of its description."""
    return f"{np.dtype(leaf.dtype).name} {tuple(leaf.shape)}"


def digest(leaf: Any) -> str:
    """Type, shape and SHA-256 of an array."""
    values = np.asarray(leaf, order="C").reshape(-1).view(np.uint8)
    return f"{kind(leaf)} {hashlib.sha256(values.data).hexdigest()}"
