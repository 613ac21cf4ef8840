"""The embedded engine: FAISS for codes, SQLite for items, and one manifest that names both.

A folder holds `manifest.json` and, of the generation that it names, `items-N.sqlite` with all items
and `codes-N.faiss` with the codes that the last compaction put there; other kinds than "flat" also
have `<kind>-N.faiss`. Items that came later are searched from SQLite, in memory, and deleted ones
are masked. A commit is one transaction of SQLite; a compaction writes the next generation beside
this one and then replaces the manifest: a process that stops at any moment leaves the last commit.
"""

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dsh_jax.errors import UserError
from dsh_jax.search import kinds
from dsh_jax.search.engine import Query
from dsh_jax.search.faiss_folder import (
    check_kind,
    create,
    digest_of,
    exists,
    read_manifest,
    remove_old,
    take_lock,
    write_manifest,
)
from dsh_jax.search.faiss_search import candidates, hits_of
from dsh_jax.search.faiss_snapshot import Snapshot, open_snapshot
from dsh_jax.search.items import Hit, Item
from dsh_jax.search.manifest import Manifest
from dsh_jax.search.store import Store

__all__ = ["FaissEngine", "check_kind", "create", "exists", "open_engine"]
_FEW = 1000  # items that are searched in memory without any loss
_TRIES = 10  # at reading what a compaction replaces meanwhile


class FaissEngine:
    """An index in a folder.

    Args:
      folder: that `create` has made.
      write: whether items will be added or deleted; one process at a time can.

    Raises:
      UserError: there is no index, it is damaged or newer, or another process is writing it.
    """

    def __init__(self, folder: Path, *, write: bool = False) -> None:
        self._folder = folder
        self._mutex = threading.RLock()
        self._lock = take_lock(folder) if write else None
        self._snapshot: Snapshot | None = None
        try:
            self._refresh()
            if write:
                remove_old(self._folder)
        except BaseException:
            self.close()
            raise

    @property
    def manifest(self) -> Manifest:
        return self._now.manifest

    def __len__(self) -> int:
        with self._mutex:
            snapshot = self._refresh()
            return snapshot.flat.ntotal - snapshot.num_deleted + len(snapshot.later_keys)

    def search(self, codes: np.ndarray, query: Query) -> list[list[Hit]]:
        for _ in range(_TRIES):
            with self._mutex:
                snapshot = self._refresh()
                labeled = snapshot.store.labeled(query.labels) if query.labels else None
            found = candidates(snapshot, codes, query, labeled)
            wanted = np.unique(np.concatenate([keys for keys, _ in found]))
            with self._mutex:
                if self._now.store is not snapshot.store:  # another thread has opened a newer one
                    continue
                items = snapshot.store.by_key(wanted.tolist())
            if len(items) == len(wanted):  # else another process has deleted some meanwhile
                return [hits_of(keys, distances, items, query.top) for keys, distances in found]
        raise UserError(f"{self._folder} changes faster than it can be searched: try again.")

    def get(self, ids: Sequence[str]) -> dict[str, Item]:
        with self._mutex:
            return self._refresh().store.by_id(ids)

    def items(self) -> Iterator[Item]:
        with self._mutex:
            return self._refresh().store.items()

    def stamps(self) -> dict[str, str]:
        with self._mutex:
            return self._refresh().store.stamps()

    def labels(self) -> dict[str, int]:
        with self._mutex:
            return self._refresh().store.labels()

    def write(self, items: Sequence[Item], delete: Sequence[str] = ()) -> None:
        with self._mutex:
            self._check_lock()
            self._now.store.write(items, delete)
            self._snapshot = replace(self._now, version=-1)  # SQLite tells of others' commits only

    def needs_compaction(self) -> bool:
        with self._mutex:
            return self._now.store.changes() > max(_FEW, self._now.store.held // 10)

    def compact(self, manifest: Manifest) -> None:
        with self._mutex:
            self._check_lock()
            generation = self._now.generation + 1
            names = {"items": f"items-{generation}.sqlite", "codes": f"codes-{generation}.faiss"}
            path = self._folder / names["items"]
            try:
                self._now.store.copy_to(path)
                with contextlib.closing(Store(path, write=True)) as copy:
                    flat = kinds.flat_of(manifest.num_bytes, copy.codes())
                kinds.write(flat, self._folder / names["codes"])
                fast = kinds.build(manifest.kind, flat, manifest.num_bits, manifest.options)
                if fast is not None:
                    names["fast"] = f"{manifest.kind}-{generation}.faiss"
                    kinds.write(fast, self._folder / names["fast"])
                write_manifest(self._folder, manifest, generation, names)
                self._refresh()
            finally:  # the files of the other generation, whichever that is now
                remove_old(self._folder)

    def check(self) -> list[str]:
        with self._mutex:
            snapshot = self._refresh()
            content = read_manifest(self._folder)
            wrong = [
                f"{name} is not what was written: its checksum differs"
                for name, digest in content["digests"].items()
                if digest_of(self._folder / name) != digest
            ]
            wrong += snapshot.store.check(snapshot.manifest.num_bytes)
            held = kinds.codes_of(snapshot.flat)
            differing = 0
            for keys, codes in snapshot.store.held_codes():
                rows = np.frombuffer(b"".join(codes), np.uint8).reshape(len(keys), -1)
                if rows.shape[1] != held.shape[1]:
                    break  # said above
                differing += int((held[keys] != rows).any(axis=1).sum())
            if differing:
                wrong.append(f"{differing} codes in {content['files']['codes']} are not the items'")
            if snapshot.fast is not None and snapshot.fast.ntotal != snapshot.flat.ntotal:
                wrong.append(f"{content['files']['fast']} has {snapshot.fast.ntotal} codes, not "
                             f"{snapshot.flat.ntotal}")  # fmt: skip
            return wrong

    def details(self) -> Mapping[str, Any]:
        with self._mutex:
            snapshot = self._refresh()
            size = sum(path.stat().st_size for path in self._folder.iterdir() if path.is_file())
            return {
                "engine": "faiss", "generation": snapshot.generation, "bytes": size,
                "items_since_compaction": len(snapshot.later_keys),
                "deleted_since_compaction": snapshot.num_deleted,
            }  # fmt: skip

    def close(self) -> None:
        with self._mutex:
            if self._snapshot is not None:
                self._snapshot.store.close()
                self._snapshot = None
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    @property
    def _now(self) -> Snapshot:
        if self._snapshot is None:
            raise ValueError(f"the index {self._folder} is closed")
        return self._snapshot

    def _check_lock(self) -> None:
        if self._lock is None:
            raise ValueError(f"{self._folder} was opened to be read: open it with write=True")

    def _refresh(self) -> Snapshot:
        """The last commit, opened; cheap if nothing has changed."""
        with self._mutex:
            missing = ""
            for _ in range(_TRIES):  # a compaction may replace the files while they are opened
                content, before = read_manifest(self._folder), self._snapshot
                try:
                    self._snapshot = open_snapshot(self._folder, content, before, self._lock)
                    return self._snapshot
                except FileNotFoundError as error:
                    missing = str(error)
            raise UserError(f"the index {self._folder} is damaged ({missing}): restore it, or "
                            "index again.")  # fmt: skip


def open_engine(uri: str, *, write: bool) -> FaissEngine:
    """The engine of an index; see `FaissEngine`."""
    return FaissEngine(Path(uri).expanduser(), write=write)
