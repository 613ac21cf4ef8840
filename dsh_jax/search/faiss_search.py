"""Asks FAISS: exactly, with ties in the order of the ids, or by an approximate index."""

from collections.abc import Mapping

import faiss
import numpy as np

from dsh_jax.search.engine import Query
from dsh_jax.search.faiss_snapshot import Snapshot
from dsh_jax.search.items import Hit, Item

Found = list[tuple[np.ndarray, np.ndarray]]
"""Of each query: keys and distances `[m]`."""


def candidates(
    snapshot: Snapshot, codes: np.ndarray, query: Query, labeled: np.ndarray | None
) -> Found:
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
) -> Found:
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
) -> Found:
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


def hits_of(
    keys: np.ndarray, distances: np.ndarray, items: Mapping[int, Item], top: int | None
) -> list[Hit]:
    """The first `top` of the candidates of one query, by distance, then by id."""
    hits = [Hit(distance, items[key]) for distance, key in
            zip(distances.tolist(), keys.tolist(), strict=True)]  # fmt: skip
    hits.sort(key=lambda hit: (hit.distance, hit.item.id))
    return hits[:top]
