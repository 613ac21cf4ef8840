"""One generation of a FAISS index, opened: what a compaction wrote, and the items since then."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from dsh_jax.errors import UserError
from dsh_jax.search import kinds, manifest
from dsh_jax.search.manifest import Manifest
from dsh_jax.search.store import Store


@dataclass(frozen=True, eq=False)
class Snapshot:
    """See the module.

    Attributes:
      generation, manifest: of the index.
      store: all items.
      flat: codes of the last compaction, in the order of their ids.
      fast: an approximate index of the same codes, if the kind has one.
      version: of the store when it was read.
      live: bool `[flat.ntotal]`, False for deleted items; None if there are none.
      later_keys: of the items since then, in the order of their ids.
      later: their codes.
    """

    generation: int
    manifest: Manifest
    store: Store
    flat: faiss.IndexBinaryFlat
    fast: faiss.IndexBinary | None
    version: int
    live: np.ndarray | None
    later_keys: np.ndarray
    later: faiss.IndexBinaryFlat

    @property
    def num_deleted(self) -> int:
        """How many codes that FAISS holds are of deleted items."""
        return 0 if self.live is None else int((~self.live).sum())


def open_snapshot(
    folder: Path, content: Mapping[str, Any], before: Snapshot | None, lock: int | None
) -> Snapshot:
    """A generation as it is now; what has not changed is taken from `before`.

    Args:
      folder, content: of the index, and its manifest as `read_manifest` gives it.
      before: what was opened last, whose store is closed if the generation is another one.
      lock: of the writer; None for a reader.

    Raises:
      FileNotFoundError: a compaction has replaced the files since the manifest was read.
      UserError: they are damaged.
    """
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
    return Snapshot(
        content["generation"], described, opened, flat, fast, version, live, keys, later
    )
