"""The interface of a data set, whether its items are images or documents."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsh_jax.data.signature import ImageInputs, WordInputs


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """Labeled items; an item's id is its row. The arrays are read-only.

    Attributes:
      name, version: of the data.
      labels: int32 `[n]`, class ids, -1 for an item without a label; or uint8 `[n, classes]`,
        multi-hot, zeros for an item without labels.
      is_test: bool `[n]`, the official test items.
      class_names: of the classes or tags.
    """

    name: str
    version: str
    labels: np.ndarray
    is_test: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        n, classes = len(self.labels), len(self.class_names)
        if self.labels.shape not in ((n,), (n, classes)) or self.is_test.shape != (n,):
            raise ValueError(
                f"labels {self.labels.shape} and is_test {self.is_test.shape} of {classes} classes"
                " should be [n] or [n, classes], and [n]"
            )
        for array in (self.labels, self.is_test):
            array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def multi_label(self) -> bool:
        """Whether an item may have several labels."""
        return self.labels.ndim == 2

    def multi_hot(self, ids: np.ndarray) -> np.ndarray:
        """Labels of some items, float32 `[m, classes]`; zeros for an item without labels."""
        if self.multi_label:
            return self.labels[ids].astype(np.float32)
        return (self.labels[ids][:, None] == np.arange(len(self.class_names))).astype(np.float32)

    @property
    def inputs(self) -> ImageInputs | WordInputs:
        """How an item becomes a network's input."""
        raise NotImplementedError

    def take(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """The networks' inputs for some items: arrays `[m, ...]` by name."""
        raise NotImplementedError

    def remarks(self) -> list[str]:
        """What the user should know before training, one line per remark."""
        return []

    def encoding_order(self, ids: np.ndarray) -> np.ndarray:
        """The order `[m]` in which encoding some items is fastest."""
        return np.arange(len(ids))

    def features(self, ids: np.ndarray) -> Any:
        """The baselines' inputs for some items: a matrix `[m, dim]`, dense or sparse."""
        raise NotImplementedError
