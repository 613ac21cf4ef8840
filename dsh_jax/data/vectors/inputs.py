"""How a vector becomes what networks take: its normalisation, fitted to training rows."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from dsh_jax.data.vectors.rows import Rows, as_float32, blocks

NORMALISATIONS = ("none", "l2", "standardise")
MOST_WIDTH = 2**16


@dataclass(frozen=True)
class VectorInputs:
    """How a vector becomes what networks take.

    Attributes:
      width: numbers of a vector.
      normalise: "none"; "l2": divided by its length, where a vector of zeros stays as it is; or
        "standardise": each number minus its mean, divided by its standard deviation.
      mean, deviation: of each number over the training rows, `[width]`, to standardise with; else
        empty.
    """

    kind: ClassVar[str] = "vectors"

    width: int
    normalise: str = "none"
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if type(self.width) is not int or not 1 <= self.width <= MOST_WIDTH:
            raise ValueError(f"width {self.width!r} should be an integer from 1 to {MOST_WIDTH}")
        if self.normalise not in NORMALISATIONS:
            raise ValueError(f"normalise is one of {NORMALISATIONS}, not {self.normalise!r}")
        sizes = {len(self.mean), len(self.deviation)}
        if sizes != {self.width if self.normalise == "standardise" else 0}:
            raise ValueError(f"mean and deviation of {sorted(sizes)} numbers for {self.normalise}")
        numbers = np.array([*self.mean, *self.deviation], np.float64)
        if not np.isfinite(numbers).all() or any(value <= 0 for value in self.deviation):
            raise ValueError("mean and deviation must be finite, and deviations above 0")

    @property
    def shape(self) -> tuple[int]:
        """`(width,)`."""
        return (self.width,)

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.mean, np.float32), np.array(self.deviation, np.float32)

    def rows(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """`vector`, float32 `[n, width]`, of floats `[n, width]`."""
        vectors = as_float32(vectors)
        if self.normalise == "l2":
            vectors = _units(vectors)
        elif self.normalise == "standardise":
            mean, deviation = self._moments
            vectors = (vectors - mean) / deviation
        return {"vector": vectors}

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; floats are kept to the last bit."""
        content: dict[str, Any] = {"width": self.width, "normalise": self.normalise}
        if self.normalise == "standardise":
            content |= {"mean": list(self.mean), "deviation": list(self.deviation)}
        return content

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "VectorInputs":
        """The inverse of `to_dict`.

        Raises:
          ValueError, TypeError, KeyError: the content is of something else.
        """
        moments = (tuple(map(float, content.get(name, ()))) for name in ("mean", "deviation"))
        return cls(content["width"], content["normalise"], *moments)


def _units(vectors: np.ndarray) -> np.ndarray:
    """Vectors float32 `[n, width]` divided by their lengths; zeros stay zeros."""
    with np.errstate(over="ignore"):
        squares = np.einsum("ij,ij->i", vectors, vectors)
    odd = ~((squares > 1e-30) & (squares < 1e30))  # float32 cannot hold them, or not precisely
    units = vectors / np.sqrt(np.where(odd, 1, squares))[:, None]
    if odd.any():
        exact = vectors[odd].astype(np.float64)
        length = np.linalg.norm(exact, axis=1, keepdims=True)
        units[odd] = exact / np.where(length > 0, length, 1)
    return units


def fit_inputs(vectors: Rows, ids: np.ndarray, normalise: str) -> VectorInputs:
    """The normalisation of some data.

    Args:
      vectors: of all items, `[n, width]`; read in blocks.
      ids: of the training items, `[m]`.
      normalise: one of `NORMALISATIONS`.
    """
    width = int(vectors.shape[1])
    if normalise != "standardise":
        return VectorInputs(width, normalise)
    count, mean, squares = 0, np.zeros(width), np.zeros(width)
    for _, block in blocks(vectors, ids):
        # Chan, Golub, LeVeque, 1979: moments of two parts together; sums of squares would cancel.
        of_block = block.mean(axis=0, dtype=np.float64)
        total, apart = count + len(block), of_block - mean
        squares += np.square(block - of_block).sum(axis=0)
        squares += np.square(apart) * count * len(block) / total
        mean += apart * len(block) / total
        count = total
    deviation = np.sqrt(squares / count).astype(np.float32)
    deviation[deviation == 0] = 1  # a number that is always the same becomes 0
    return VectorInputs(
        width, normalise, tuple(mean.astype(np.float32).tolist()), tuple(deviation.tolist())
    )
