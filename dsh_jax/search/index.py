"""An index: items found by the Hamming distance of their codes, whatever engine holds them.

    with open_index("runs/mine.index") as index:
        for hit in index.search(codes, top=10)[0]:
            print(hit.distance, hit.item.id)

A URI is a folder (FAISS, embedded), `http://host:19530/name` (a Milvus server; `name` is the
collection) or a file that ends in `.db` (Milvus Lite).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dsh_jax import hamming
from dsh_jax.errors import UserError
from dsh_jax.search.engine import Engine, Query
from dsh_jax.search.items import Hit, Item, check_id, check_labels, unknown_id
from dsh_jax.search.manifest import Manifest


class Index:
    """Made by `open_index`; several threads may search at once. It is a context manager.

    Args:
      uri: names it in errors.
      engine: holds the items.
    """

    def __init__(self, uri: str, engine: Engine) -> None:
        self.uri = uri
        self._engine = engine

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Releases files, locks and connections."""
        self._engine.close()

    @property
    def manifest(self) -> Manifest:
        """Length of the codes, fingerprint and path of the model, kind of the index."""
        return self._engine.manifest

    @property
    def num_bits(self) -> int:
        """Length of a code."""
        return self.manifest.num_bits

    def __len__(self) -> int:
        """Number of items."""
        return len(self._engine)

    def __iter__(self) -> Iterator[Item]:
        """All items, one by one."""
        return self._engine.items()

    def search(
        self,
        codes: np.ndarray,
        *,
        top: int | None = 10,
        radius: int | None = None,
        labels: Sequence[str] = (),
        unique: int | None = None,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """The nearest items of each query, by distance, then by id.

        Args:
          codes: packed, uint8 `[n, ceil(num_bits / 8)]`, as `Encoder.encode` gives them.
          top: at most so many items; None for all, within `radius` if it is given.
          radius: only items within this Hamming distance, in bits.
          labels: only items that have one of these; empty for all items.
          unique: leaves out an item within this distance of one that is nearer to the query.
          exact: whether an approximate kind of index is to be searched exactly. A search with
            `radius` or `labels`, and every search of a "flat" index, always is.

        Returns:
          For each query its hits, fewer than `top` if the index has no more.

        Raises:
          ValueError: the codes are not packed codes of `num_bits`; `top` is less than 1, or
            `radius` or `unique` is negative.
        """
        codes = np.ascontiguousarray(hamming.check_packed(codes, self.num_bits, "codes"))
        if top is not None and top < 1:
            raise ValueError(f"top is {top}: it must be 1 or more")
        for name, bits in (("radius", radius), ("unique", unique)):
            if bits is not None and bits < 0:
                raise ValueError(f"{name} is {bits}: it must be 0 or more")
        if not len(codes):
            return []
        radius = None if radius is None else min(radius, self.num_bits)
        query = Query(top, radius, tuple(dict.fromkeys(labels)), exact)
        if unique is None:
            return self._engine.search(codes, query)
        return [self._distinct(code[None], query, unique) for code in codes]

    def _distinct(self, code: np.ndarray, query: Query, unique: int) -> list[Hit]:
        size = len(self)
        take = size if query.top is None else min(2 * query.top, size)
        while take:
            [hits] = self._engine.search(code, replace(query, top=take))
            kept = self._apart(hits, unique, query.top)
            if len(kept) == query.top or len(hits) < take or take == size:
                return kept
            take = min(4 * take, size)
        return []

    def _apart(self, hits: Sequence[Hit], unique: int, top: int | None) -> list[Hit]:
        """The hits that are farther than `unique` from all kept before them."""
        kept: list[Hit] = []
        codes = np.zeros((len(hits), self.manifest.num_bytes), np.uint8)
        for hit in hits:
            code = np.frombuffer(hit.item.code, np.uint8)
            near = np.bitwise_count(codes[: len(kept)] ^ code).sum(axis=1) <= unique
            if not near.any():
                codes[len(kept)] = code
                kept.append(hit)
                if len(kept) == top:
                    break
        return kept

    def get(self, ids: Sequence[str]) -> list[Item]:
        """Items by id, in the order of `ids`.

        Raises:
          UserError: one is not there.
        """
        found = self._engine.get(ids)
        for name in ids:
            if name not in found:
                raise unknown_id(name, self.uri)
        return [found[name] for name in ids]

    def stamps(self) -> dict[str, str]:
        """The stamp of every item, by id."""
        return self._engine.stamps()

    def labels(self) -> dict[str, int]:
        """The number of items of every label, by label."""
        return self._engine.labels()

    def add(self, items: Sequence[Item], *, delete: Sequence[str] = ()) -> None:
        """Adds items in one commit; those whose id is there already replace the old ones.

        Args:
          items: with codes of the index's length, and different ids.
          delete: ids to remove in the same commit; those that are not there do not matter.

        Raises:
          ValueError: an id, a code or labels are invalid.
          UserError: it cannot be written.
        """
        items = [
            replace(item, labels=check_labels(item.labels)) if item.labels else item
            for item in items
        ]
        if len({check_id(item.id) for item in items}) < len(items):
            raise ValueError("items of one commit must have different ids")
        if any(len(item.code) != self.manifest.num_bytes for item in items):
            raise ValueError(f"codes must have {self.manifest.num_bytes} bytes")
        if items:
            joined = np.frombuffer(b"".join(item.code for item in items), np.uint8)
            hamming.check_packed(joined.reshape(len(items), -1), self.num_bits, "codes")
        if items or delete:
            self._engine.write(items, list(delete))

    def delete(self, ids: Sequence[str]) -> None:
        """Deletes items in one commit.

        Raises:
          UserError: one is not there; then none is deleted.
        """
        self.get(ids)
        self.add([], delete=ids)

    def compact(self, kind: str | None = None, options: Mapping[str, int] | None = None) -> None:
        """Frees what deleted items took; and makes an index of another kind, if one is given.

        Args:
          kind: "flat", "ivf", "hnsw" or "multihash", as far as the engine has it; None keeps it.
          options: of the kind; None keeps them, unless the kind changes.

        Raises:
          UserError: the engine has no such kind or option, or it cannot be written.
        """
        manifest = self.manifest
        if kind is not None and kind != manifest.kind:
            manifest = replace(manifest, kind=kind, options=dict(options or {}))
        elif options is not None:
            manifest = replace(manifest, options=dict(options))
        _module(self.uri).check_kind(manifest)
        self._engine.compact(manifest)

    def needs_compaction(self) -> bool:
        """Whether so much has changed since the last one that searches would gain from it."""
        return self._engine.needs_compaction()

    def check(self) -> list[str]:
        """What is wrong with the index, a sentence each; reads everything."""
        return self._engine.check()

    def info(self) -> dict[str, Any]:
        """What the index is and holds, ready for JSON."""
        return {
            "uri": self.uri, "items": len(self), **self.manifest.to_dict(),
            **self._engine.details(),
        }  # fmt: skip

    def require(self, *, num_bits: int, fingerprint: str, model: str) -> None:
        """Refuses codes that cannot be compared with those of the index.

        Args:
          num_bits, fingerprint: of the codes; an empty fingerprint is unknown.
          model: names them in the error.

        Raises:
          UserError: another length, or another encoder.
        """
        mine = self.manifest
        if num_bits != mine.num_bits:
            raise UserError(
                f"codes of {model} have {num_bits} bits, and those of {self.uri} {mine.num_bits}: "
                "use the model that it was made with, or another --index."
            )
        if fingerprint != mine.fingerprint and (fingerprint and mine.fingerprint):
            made = f" ({mine.model})" if mine.model else ""
            raise UserError(
                f"{model} has the fingerprint {fingerprint[:12]}, and the model{made}"
                f" of {self.uri} has {mine.fingerprint[:12]}: use that model, or another --index."
            )


def open_index(uri: str | Path, *, write: bool = False) -> Index:
    """Opens an index.

    Args:
      uri: see the module.
      write: whether items will be added or deleted; one process at a time can.

    Raises:
      UserError: there is none, it is damaged or newer, another process is writing it, or the server
        does not answer.
    """
    uri, module = str(uri), _module(str(uri))
    return Index(uri, module.open_engine(uri, write=write))


def index_exists(uri: str | Path) -> bool:
    """Whether there is an index.

    Raises:
      UserError: the server does not answer.
    """
    return _module(str(uri)).exists(str(uri))


def create_index(uri: str | Path, manifest: Manifest) -> None:
    """Makes an empty index.

    Raises:
      UserError: something is there already, the engine has no such kind, or it cannot be written.
    """
    _module(str(uri)).create(str(uri), manifest)


def is_milvus(uri: str) -> bool:
    """Whether a URI names a Milvus server or a file of Milvus Lite."""
    return uri.startswith(("http://", "https://")) or uri.endswith(".db")


def _module(uri: str) -> Any:
    # Engines are slow to import, and an installation may have only one.
    if not is_milvus(uri) and "://" in uri:
        raise UserError(
            f"{uri} names no engine: give a folder, http://host:19530/name or a file FILE.db."
        )
    name = "milvus_engine" if is_milvus(uri) else "faiss_engine"
    return importlib.import_module(f"dsh_jax.search.{name}")
