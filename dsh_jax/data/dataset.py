"""The interface of a data set, whether its items are images, documents or vectors."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from dsh_jax.data.signature import Inputs


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """Labeled items; an item's id is its row. The arrays are read-only.

    Attributes:
      name, version: of the data.
      labels: int32 `[n]`, class ids, -1 for an item without a known label; or uint8 `[n, classes]`,
        multi-hot, zeros for an item without labels.
      is_test: bool `[n]`, the official test items.
      class_names: of the classes or tags.
      collection: what splits and results call the data; empty is `name`. It differs where the name
        is that of a folder, which may be renamed.
      names: of the items `[n]`, by which users know them; empty where there are only rows.
      contents: a digest of each item's content `[n]`, for data that users may change; else empty. A
        row whose item is gone has an empty digest.
      notes: what else the user should know before training, a line each.
      changes: how the data differs from what a run was trained on, in a line each.
    """

    name: str
    version: str
    labels: np.ndarray
    is_test: np.ndarray
    class_names: tuple[str, ...]
    collection: str = ""
    names: tuple[str, ...] = ()
    contents: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n, classes = len(self.labels), len(self.class_names)
        if self.labels.shape not in ((n,), (n, classes)) or self.is_test.shape != (n,):
            raise ValueError(
                f"labels {self.labels.shape} and is_test {self.is_test.shape} of {classes} classes"
                " should be [n] or [n, classes], and [n]"
            )
        for field in ("names", "contents"):
            if len(getattr(self, field)) not in (0, n):
                raise ValueError(f"{len(getattr(self, field))} {field} of {n} items")
        object.__setattr__(self, "collection", self.collection or self.name)
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
        labels = self.labels[ids]
        return (labels[:, None] == np.arange(len(self.class_names))).astype(np.float32)

    @property
    def present(self) -> np.ndarray:
        """Ids of all items that are there, labeled or not: what can be found, `[m]`."""
        if not self.contents:
            return np.arange(len(self))
        return np.flatnonzero([bool(content) for content in self.contents])

    def arranged(self, rows: np.ndarray, **changed: Any) -> Self:
        """The items in another order.

        Args:
          rows: for each new row the row of its item, or -1 for a row without an item, `[m]`.
          changed: other fields of the result, among them `labels`, `names` and `contents`.
        """
        is_test = self.is_test[rows] & (rows >= 0)
        return replace(self, is_test=is_test, **self._arranged(rows), **changed)

    def _arranged(self, rows: np.ndarray) -> dict[str, Any]:
        """The fields of a kind of data in another order; see `arranged`."""
        raise NotImplementedError

    @property
    def inputs(self) -> Inputs:
        """How an item becomes a network's input."""
        raise NotImplementedError

    def take(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """The networks' inputs for some items: arrays `[m, ...]` by name."""
        raise NotImplementedError

    def remarks(self) -> list[str]:
        """What the user should know before training, one line per remark."""
        return [*self.notes, *self.changes]

    def encoding_order(self, ids: np.ndarray) -> np.ndarray:
        """The order `[m]` in which encoding some items is fastest."""
        return np.arange(len(ids))

    def features(self, ids: np.ndarray) -> Any:
        """The baselines' inputs for some items: a matrix `[m, dim]`, dense or sparse."""
        raise NotImplementedError
