"""The embedded engine: FAISS for codes, SQLite for items, and one manifest that names both.

A folder holds `manifest.json` and, of the generation that it names, `items-N.sqlite` with all items
and `codes-N.faiss` with the codes that the last compaction put there; other kinds than "flat" also
have `<kind>-N.faiss`. Items that came later are searched from SQLite, in memory, and deleted ones
are masked. A commit is one transaction of SQLite; a compaction writes the next generation beside
this one and then replaces the manifest: a process that stops at any moment leaves the last commit.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from dsh_jax.errors import UserError
from dsh_jax.files import remove_abandoned, write_json
from dsh_jax.search import kinds, manifest, store
from dsh_jax.search.engine import Query
from dsh_jax.search.items import Hit, Item
from dsh_jax.search.manifest import Manifest
from dsh_jax.search.store import Store

MANIFEST = "manifest.json"
_LOCK = ".lock"
_FEW = 1000  # items that are searched in memory without any loss
_TRIES = 10  # at reading what a compaction replaces meanwhile


@dataclass(frozen=True, eq=False)
class _Snapshot:
    """A generation, opened: what the last compaction wrote, and the items since then."""

    generation: int
    manifest: Manifest
    store: Store
    flat: faiss.IndexBinaryFlat
    fast: faiss.IndexBinary | None
    version: int
    live: np.ndarray | None  # bool [flat.ntotal]; None if none is deleted
    later_keys: np.ndarray
    later: faiss.IndexBinaryFlat


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
        self._lock = _take_lock(folder) if write else None
        self._snapshot: _Snapshot | None = None
        try:
            self._refresh()
            if write:
                self._remove_old()
        except BaseException:
            self.close()
            raise

    @property
    def manifest(self) -> Manifest:
        return self._now.manifest

    def __len__(self) -> int:
        with self._mutex:
            snapshot = self._refresh()
            held = snapshot.flat.ntotal if snapshot.live is None else int(snapshot.live.sum())
            return held + len(snapshot.later_keys)

    def search(self, codes: np.ndarray, query: Query) -> list[list[Hit]]:
        for _ in range(_TRIES):
            with self._mutex:
                snapshot = self._refresh()
                labeled = snapshot.store.labeled(query.labels) if query.labels else None
            found = _candidates(snapshot, codes, query, labeled)
            with self._mutex:
                if self._now.store is not snapshot.store:  # another thread has opened a newer one
                    continue
                items = snapshot.store.by_key(key for keys, _ in found for key in keys)
            if all(int(key) in items for keys, _ in found for key in keys):
                return [_hits(keys, distances, items, query.top) for keys, distances in found]
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
                _write_manifest(self._folder, manifest, generation, names)
                self._refresh()
            finally:  # the files of the other generation, whichever that is now
                self._remove_old()

    def check(self) -> list[str]:
        with self._mutex:
            snapshot = self._refresh()
            content = _read_manifest(self._folder)
            wrong = [
                f"{name} is not what was written: its checksum differs"
                for name, digest in content["digests"].items()
                if _digest(self._folder / name) != digest
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
            dead = 0 if snapshot.live is None else int((~snapshot.live).sum())
            size = sum(path.stat().st_size for path in self._folder.iterdir() if path.is_file())
            return {
                "engine": "faiss", "generation": snapshot.generation, "bytes": size,
                "items_since_compaction": len(snapshot.later_keys),
                "deleted_since_compaction": dead,
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
    def _now(self) -> _Snapshot:
        if self._snapshot is None:
            raise ValueError(f"the index {self._folder} is closed")
        return self._snapshot

    def _check_lock(self) -> None:
        if self._lock is None:
            raise ValueError(f"{self._folder} was opened to be read: open it with write=True")

    def _refresh(self) -> _Snapshot:
        """The last commit, opened; cheap if nothing has changed."""
        with self._mutex:
            missing = ""
            for _ in range(_TRIES):  # a compaction may replace the files while they are opened
                content = _read_manifest(self._folder)
                try:
                    self._snapshot = _open(self._folder, content, self._snapshot, self._lock)
                    return self._snapshot
                except FileNotFoundError as error:
                    missing = str(error)
            raise UserError(f"the index {self._folder} is damaged ({missing}): restore it, or "
                            "index again.")  # fmt: skip

    def _remove_old(self) -> None:
        """Removes the files of other generations; who still reads them keeps them open."""
        content = _read_manifest(self._folder)
        kept = {*content["files"].values()}
        for path in self._folder.glob("*-*.*"):
            stem = path.name.removesuffix("-wal").removesuffix("-shm").removesuffix("-journal")
            if stem not in kept and stem.endswith((".sqlite", ".faiss")):
                path.unlink(missing_ok=True)
        remove_abandoned(self._folder)


def open_engine(uri: str, *, write: bool) -> FaissEngine:
    """The engine of an index; see `FaissEngine`."""
    return FaissEngine(Path(uri).expanduser(), write=write)


def exists(uri: str) -> bool:
    """Whether there is an index in a folder."""
    return (Path(uri).expanduser() / MANIFEST).is_file()


def create(uri: str, manifest: Manifest) -> None:
    """Makes an empty index.

    Raises:
      UserError: the folder has other things in it, there is an index already, or the kind or its
        options are unknown.
    """
    check_kind(manifest)
    folder = Path(uri).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: name a folder for the index, or a new one.")
    ours = (_LOCK, "items-0.sqlite", f".{MANIFEST}.")
    if folder.is_dir() and any(not path.name.startswith(ours) for path in folder.iterdir()):
        raise UserError(f"{folder} is not empty and has no index: name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    lock = _take_lock(folder)
    try:
        if exists(uri):  # made while this process waited
            return
        store.create(folder / "items-0.sqlite")
        _write_manifest(folder, manifest, 0, {"items": "items-0.sqlite"})
    finally:
        os.close(lock)


def check_kind(manifest: Manifest) -> None:
    """Refuses a kind or options that FAISS indexes do not have.

    Raises:
      UserError: names those that there are.
    """
    if manifest.kind not in kinds.OPTIONS:
        raise UserError(
            f"FAISS has no index of kind {manifest.kind!r}: choose {', '.join(kinds.OPTIONS)}."
        )
    for name in manifest.options:
        if name not in kinds.OPTIONS[manifest.kind]:
            known = ", ".join(kinds.OPTIONS[manifest.kind]) or "none"
            raise UserError(f"{manifest.kind} has no option {name!r}: set one of these: {known}.")


def _take_lock(folder: Path) -> int:
    if not folder.is_dir():
        raise UserError(f"there is no index {folder}: make one with search.py index.")
    file = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        raise UserError(
            f"another process is writing the index {folder}: wait for its end, or stop it."
        ) from error
    return file


def _write_manifest(
    folder: Path, manifest: Manifest, generation: int, names: Mapping[str, str]
) -> None:
    # SQLite changes its file with every commit, and checks itself.
    frozen = [name for name in names.values() if name.endswith(".faiss")]
    content = manifest.to_dict() | {
        "engine": "faiss", "generation": generation, "files": dict(names),
        "digests": {name: _digest(folder / name) for name in frozen},
    }  # fmt: skip
    write_json(folder / MANIFEST, content | {"checksum": _checksum(content)})


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text())
        manifest.from_dict(content, str(folder))  # a newer one may have other fields
        if content.get("engine") != "faiss":
            raise ValueError(f"engine {content.get('engine')!r}")
        if content.pop("checksum", None) != _checksum(content):
            raise ValueError("its checksum does not fit")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"there is no index {folder}: make one with search.py index."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged ({' '.join(str(error).split())[:100]}): restore it, or index again."
        ) from error
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _digest(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return "missing"


def _open(
    folder: Path, content: Mapping[str, Any], before: _Snapshot | None, lock: int | None
) -> _Snapshot:
    """A generation as it is now; what has not changed is taken from `before`."""
    described = manifest.from_dict(content, str(folder))
    if before is not None and before.generation == content["generation"]:
        version = before.store.version()
        if version == before.version:
            return before
        opened, flat, fast = before.store, before.flat, before.fast
    else:
        files = content["files"]
        opened = Store(folder / files["items"], write=lock is not None)
        flat, fast = faiss.IndexBinaryFlat(8 * described.num_bytes), None
        if "codes" in files:
            flat = kinds.read(folder / files["codes"])
        if "fast" in files:
            fast = kinds.read(folder / files["fast"])
            kinds.tune(described.kind, fast, described.options)
        if flat.ntotal != opened.held or flat.d != 8 * described.num_bytes:
            raise UserError(f"{folder} is damaged: {files['items']} and {files.get('codes')} are "
                            "not of one index; restore it, or index again.")  # fmt: skip
        if before is not None:
            before.store.close()
        version = opened.version()
    keys, codes = opened.since()
    live = None
    if len(dead := opened.tombstones()):
        live = np.ones(flat.ntotal, bool)
        live[dead] = False
    later = faiss.IndexBinaryFlat(8 * described.num_bytes)
    if len(keys):
        later.add(codes)
    return _Snapshot(
        content["generation"], described, opened, flat, fast, version, live, keys, later
    )


_Found = list[tuple[np.ndarray, np.ndarray]]  # of each query: keys and distances [m]


def _candidates(
    snapshot: _Snapshot, codes: np.ndarray, query: Query, labeled: np.ndarray | None
) -> _Found:
    """What may be among the hits of each query, and surely holds them if the search is exact."""
    flat, later = snapshot.flat, snapshot.later
    kept, kept_later = snapshot.live, None
    if labeled is not None:
        kept = np.zeros(flat.ntotal, bool)
        kept[labeled[labeled < flat.ntotal]] = True
        kept_later = np.isin(snapshot.later_keys, labeled)
    plain = query.radius is None and labeled is None and not query.exact
    if snapshot.fast is not None and plain and query.top is not None:
        held = _fast(snapshot.fast, codes, query.top, kept)
    else:
        held = _exact(flat, codes, query, kept)
    rest = _exact(later, codes, query, kept_later)
    return [
        (np.concatenate([rows, snapshot.later_keys[others]]), np.concatenate([near, distances]))
        for (rows, near), (others, distances) in zip(held, rest, strict=True)
    ]


def _exact(
    index: faiss.IndexBinaryFlat, codes: np.ndarray, query: Query, kept: np.ndarray | None
) -> _Found:
    """Rows and distances of the nearest codes; FAISS puts ties in the order of the rows."""
    n = index.ntotal if kept is None else int(kept.sum())
    if not n:
        return [(np.zeros(0, np.int64), np.zeros(0, np.int32))] * len(codes)
    parameters = None
    if kept is not None:
        parameters = faiss.SearchParameters(
            sel=faiss.IDSelectorBitmap(np.packbits(kept, bitorder="little"))
        )
    if query.top is not None and query.top < n:
        near, rows = index.search(codes, query.top, params=parameters)
        found = list(zip(rows, near, strict=True))
        if query.radius is not None:
            found = [(rows[near <= query.radius], near[near <= query.radius])
                     for rows, near in found]  # fmt: skip
        return found
    radius = 8 * codes.shape[1] if query.radius is None else query.radius
    ends, near, rows = index.range_search(codes, radius + 1, params=parameters)
    return [(rows[a:b], near[a:b].astype(np.int32))
            for a, b in zip(ends[:-1], ends[1:], strict=True)]  # fmt: skip


def _fast(
    index: faiss.IndexBinary, codes: np.ndarray, top: int, live: np.ndarray | None
) -> _Found:
    """As `_exact`, by an approximate index that knows no deletions."""
    wanted = min(top, index.ntotal)
    take = wanted
    while True:
        near, rows = index.search(codes, take)
        found = [(r[r >= 0], d[r >= 0]) for r, d in zip(rows, near, strict=True)]
        if live is not None:
            found = [(r[live[r]], d[live[r]]) for r, d in found]
        # An index that has given fewer than asked for has no more.
        if live is None or take >= index.ntotal or all(
            len(r) >= wanted or all_rows[-1] < 0
            for (r, _), all_rows in zip(found, rows, strict=True)
        ):  # fmt: skip
            return found
        take = min(2 * take, index.ntotal)


def _hits(
    keys: np.ndarray, distances: np.ndarray, items: Mapping[int, Item], top: int | None
) -> list[Hit]:
    hits = [Hit(distance, items[key]) for distance, key in
            zip(distances.tolist(), keys.tolist(), strict=True)]  # fmt: skip
    hits.sort(key=lambda hit: (hit.distance, hit.item.id))
    return hits[:top]
