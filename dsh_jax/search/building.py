"""Fills an index from a source: encodes what is new or changed, and drops what is gone."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from dsh_jax.data.items import check_width
from dsh_jax.data.prefetch import prefetch
from dsh_jax.data.vectors.rows import Rows
from dsh_jax.encoder import Encoder, UnreadableItems
from dsh_jax.errors import UserError, as_user_error
from dsh_jax.search.index import Index
from dsh_jax.search.items import Item
from dsh_jax.search.sources import Entry, Source
from dsh_jax.search.vector_files import vector_in

Encode = Callable[[Sequence[Entry]], tuple[list[Item], list[str]]]
"""Entries -> items, and why others cannot be read."""


@dataclass
class Counts:
    """What became of the entries of a source."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    dropped: int = 0
    unreadable: tuple[str, ...] = ()

    def line(self) -> str:
        """In words."""
        return (
            f"{self.added:,} added, {self.changed:,} changed, {self.unchanged:,} unchanged, "
            f"{self.dropped:,} dropped, {len(self.unreadable):,} unreadable"
        )


class _Sink(Protocol):
    def stamps(self) -> dict[str, str]: ...

    def add(self, items: Sequence[Item]) -> None: ...


def encode_with(encoder: Encoder, kind: str, vectors: Rows | None = None) -> Encode:
    """Encodes entries of one kind.

    Args:
      encoder: of that kind of items.
      kind: "images", "documents" or "vectors".
      vectors: of all entries that are vectors, `[n, width]`.

    Raises:
      UserError: the encoder is of another kind, or takes vectors of another width.
    """
    made_for = encoder.signature.inputs.kind
    if made_for != kind:
        raise UserError(f"the model encodes {made_for}, and these are {kind}: name another one.")

    if vectors is not None:
        with as_user_error():
            check_width(vectors, encoder.signature.inputs)

    def encode(entries: Sequence[Entry]) -> tuple[list[Item], list[str]]:
        if vectors is not None:
            codes = encoder.encode(vectors[np.array([entry.row for entry in entries])])
            return [e.item(c.tobytes()) for e, c in zip(entries, codes, strict=True)], []
        contents = [entry.path if kind == "images" else entry.text for entry in entries]
        positions: Iterable[int] = range(len(entries))
        failures: list[str] = []
        try:
            codes = encoder.encode(contents)
        except UnreadableItems as error:
            codes, positions = error.outputs, error.positions.tolist()
            failures = [f"{failure.name}: {failure.reason}" for failure in error.failures]
        items = [entries[k].item(code.tobytes()) for k, code in zip(positions, codes, strict=True)]
        return items, failures

    return encode


def as_they_are(entries: Sequence[Entry]) -> tuple[list[Item], list[str]]:
    """Items of entries that have codes already."""
    return [entry.item(entry.code) for entry in entries], []


def fill(
    sink: _Sink,
    entries: Sequence[Entry],
    encode: Encode,
    *,
    batch: int,
    progress: bool,
    known: dict[str, str] | None = None,
) -> Counts:
    """Adds the entries that are new or changed, each batch in one commit.

    Args:
      sink: an index, or parts.
      entries: of which those with a known stamp are left out.
      encode: makes items of them, in a thread, while the batch before is written.
      batch: entries of a commit.
      progress: whether to show a bar with the time left.
      known: stamps by id; None asks the sink.
    """
    stamps = sink.stamps() if known is None else known
    pending = [entry for entry in entries if stamps.get(entry.id) != entry.stamp]
    counts = Counts(unchanged=len(entries) - len(pending))
    unreadable: list[str] = []
    with tqdm(total=len(pending), unit="item", disable=not progress or not pending) as bar:
        for items, failures in prefetch(encode, _batches(pending, batch), depth=1):
            if items:
                sink.add(items)
            changed = sum(item.id in stamps for item in items)
            counts.changed += changed
            counts.added += len(items) - changed
            unreadable += failures
            bar.update(len(items) + len(failures))
    counts.unreadable = tuple(unreadable)
    return counts


def mirror(
    index: Index, source: Source, encode: Encode, *, batch: int, progress: bool
) -> Counts:
    """Makes an index hold what a source has: fills it, and drops what the source has not.

    Raises:
      UserError: not one item of the index is in the source, so that it is likely another one.
    """
    stamps = index.stamps()
    names = {entry.id for entry in source.entries}
    if stamps and names.isdisjoint(stamps):
        raise UserError(
            f"not one of the {len(stamps):,} items of {index.uri} is in {source.name}: name what "
            "was indexed, use another --index, or keep both with search.py add."
        )
    counts = fill(
        index, source.entries, encode, batch=batch, progress=progress, known=stamps
    )
    gone = [name for name in stamps if name not in names]
    counts.dropped = len(gone)
    index.add([], delete=gone)
    return counts


def code_of(encoder: Encoder, kind: str, content: str) -> np.ndarray:
    """The relaxed code `[num_bits]` of one image file, document or file with one vector.

    Raises:
      UserError: it cannot be read, or the encoder is of the other kind.
    """
    made_for = encoder.signature.inputs.kind
    if made_for != kind:
        raise UserError(f"the model encodes {made_for}, and a query is of {kind}: ask for one of "
                        "those.")  # fmt: skip
    if kind == "vectors":
        with as_user_error():
            return encoder.relaxed(vector_in(Path(content)))[0]
    try:
        return encoder.relaxed([content])[0]
    except UnreadableItems as error:
        [failure] = error.failures
        raise UserError(
            f"{failure.name} cannot be read: {failure.reason}; name another file."
        ) from error


def _batches(entries: Iterable[Entry], size: int) -> Iterator[list[Entry]]:
    iterator = iter(entries)
    while batch := list(islice(iterator, size)):
        yield batch
