"""Target codes of training items, learned before the network and looked up by id."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsh_jax.errors import UserError, reason
from dsh_jax.files import replacing


@dataclass(frozen=True, eq=False)
class Targets:
    """Target codes of some items.

    Attributes:
      ids: rows of the data set, int64 `[n]`, strictly ascending.
      codes: `[n, num_bits]`, -1 and 1 or real numbers; row k belongs to item `ids[k]`.
    """

    ids: np.ndarray
    codes: np.ndarray

    def __post_init__(self) -> None:
        if self.ids.ndim != 1 or self.codes.ndim != 2 or len(self.ids) != len(self.codes):
            raise ValueError(f"ids {self.ids.shape} and codes {self.codes.shape} do not fit")
        if np.any(np.diff(self.ids) <= 0):
            raise ValueError("ids must be strictly ascending, for lookup by id")

    @property
    def checksum(self) -> str:
        """SHA-256 (hex) of ids and codes."""
        digest = hashlib.sha256()
        for array in (self.ids, self.codes):
            digest.update(f"{array.dtype.str} {array.shape}\n".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def of(self, ids: np.ndarray) -> np.ndarray:
        """The codes of some items, `[m]` -> `[m, num_bits]`.

        Raises:
          ValueError: an item has no target.
        """
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        if not np.array_equal(self.ids[place], ids):
            raise ValueError("some items have no target code")
        return self.codes[place]


def save(targets: Targets, path: Path) -> None:
    """Writes targets and their checksum as .npz, atomically."""
    with replacing(path) as beside, beside.open("wb") as file:
        np.savez(file, ids=targets.ids, codes=targets.codes, checksum=targets.checksum)


def load(path: Path) -> Targets:
    """Reads what `save` wrote.

    Raises:
      UserError: the file is damaged.
    """
    try:
        with np.load(path) as arrays:
            targets = Targets(arrays["ids"], arrays["codes"])
            if str(arrays["checksum"]) != targets.checksum:
                raise ValueError("its checksum does not fit")
            return targets
    except Exception as error:  # NumPy and zipfile raise many types for a damaged file
        raise UserError(
            f"{path} cannot be read ({reason(error)}); delete it to learn the codes again."
        ) from error
