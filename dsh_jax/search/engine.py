"""What an engine does for an `Index`; `faiss_engine` and `milvus_engine` are two."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dsh_jax.search.items import Hit, Item
from dsh_jax.search.manifest import Manifest


@dataclass(frozen=True)
class Query:
    """What is asked of every code.

    Attributes:
      top: at most so many items; None for all within the radius.
      radius: only items within this distance, in bits; None for any.
      labels: only items that have one of these; empty for all items.
      exact: whether to search exactly, whatever the kind of the index.
    """

    top: int | None = 10
    radius: int | None = None
    labels: tuple[str, ...] = ()
    exact: bool = False


class Engine(Protocol):
    """Codes and what belongs to them, kept somewhere.

    Searches may come from several threads. What changes an index needs `write=True` on opening.
    """

    @property
    def manifest(self) -> Manifest:
        """What the index is."""

    def __len__(self) -> int:
        """Number of items."""

    def search(self, codes: np.ndarray, query: Query) -> list[list[Hit]]:
        """The nearest items of each packed code `[n, num_bytes]`, by distance, then by id."""

    def get(self, ids: Sequence[str]) -> dict[str, Item]:
        """Items by id; ids that are not there are left out."""

    def items(self) -> Iterator[Item]:
        """All items; those of one commit are there or not as a whole."""

    def stamps(self) -> dict[str, str]:
        """The stamp of every item, by id."""

    def labels(self) -> dict[str, int]:
        """The number of items of every label, by label."""

    def write(self, items: Sequence[Item], delete: Sequence[str] = ()) -> None:
        """Adds items, or replaces those of the same ids, and deletes others: all or nothing."""

    def compact(self, manifest: Manifest) -> None:
        """Frees what deleted items took, and makes the index of the manifest's kind."""

    def needs_compaction(self) -> bool:
        """Whether searches would gain from it."""

    def check(self) -> list[str]:
        """What is wrong, a sentence each; reads everything."""

    def details(self) -> Mapping[str, Any]:
        """What `info` prints beside the manifest, ready for JSON."""

    def close(self) -> None:
        """Releases files, locks and connections."""
