"""The kinds of index that FAISS offers for packed codes.

All are made of the codes of one `IndexBinaryFlat`, which is kept beside them: the approximate kinds
answer plain queries, and it answers everything that they cannot (a radius, labels, exactly).
"""

import os
from collections.abc import Iterable, Mapping
from math import ceil, log2, sqrt
from pathlib import Path

import faiss
import numpy as np

from dsh_jax.errors import UserError, brief
from dsh_jax.files import replacing

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "flat": (),
    "ivf": ("lists", "probes"),
    "hnsw": ("neighbors", "ef_construction", "ef_search"),
    "multihash": ("tables", "hash_bits", "flips"),
}
"""Kinds -> the options that each takes; their defaults depend on the number of items."""
_FEW = 1000  # codes, below which every kind is searched exactly
_PER_LIST = 64  # codes that the centre of each list of "ivf" is fitted to


def build(
    kind: str, flat: faiss.IndexBinaryFlat, num_bits: int, options: Mapping[str, int]
) -> faiss.IndexBinary | None:
    """The approximate index of a kind over the same codes; None if `flat` alone will do."""
    if kind == "flat" or flat.ntotal < _FEW:
        return None
    codes = codes_of(flat)
    makers = {"ivf": _ivf, "hnsw": _hnsw, "multihash": _multihash}
    index = makers[kind](flat.d, len(codes), num_bits, options)
    if kind == "ivf":  # FAISS would make floats of all codes, and then take some of them
        index.train(np.ascontiguousarray(codes[:: max(1, len(codes) // (_PER_LIST * index.nlist))]))
    index.add(codes)
    return index


def tune(kind: str, index: faiss.IndexBinary, options: Mapping[str, int]) -> None:
    """Sets what a search reads and a file does not keep."""
    if kind == "ivf":
        # So many found 97% or more of the nearest 10 among 18,000 to 10 million codes.
        index.nprobe = min(index.nlist, options.get("probes", ceil(0.75 * sqrt(index.nlist))))
    elif kind == "hnsw":
        index.hnsw.efSearch = options.get("ef_search", 64)
    elif kind == "multihash":
        # A near code differs by few bits in one of the tables, and by fewer if there are many.
        index.nflip = options.get("flips", 1 if index.nhash > 2 else 2)


def _ivf(d: int, n: int, num_bits: int, options: Mapping[str, int]) -> faiss.IndexBinary:
    lists = min(options.get("lists", ceil(sqrt(n))), n // 30)
    index = faiss.index_binary_factory(d, f"BIVF{lists}")
    index.cp.niter = 10
    index.cp.min_points_per_centroid = 1  # below it FAISS writes a warning
    return index


def _hnsw(d: int, n: int, num_bits: int, options: Mapping[str, int]) -> faiss.IndexBinary:
    index = faiss.IndexBinaryHNSW(d, options.get("neighbors", 16))
    index.hnsw.efConstruction = options.get("ef_construction", 64)
    index.verbose = False
    return index


def _multihash(d: int, n: int, num_bits: int, options: Mapping[str, int]) -> faiss.IndexBinary:
    # About as many buckets as items, as in Norouzi, Punjani, Fleet: "Fast Search in Hamming Space
    # with Multi-Index Hashing" (CVPR 2012).
    hash_bits = options.get("hash_bits", min(num_bits, max(4, round(log2(n)))))
    tables = options.get("tables", max(1, num_bits // hash_bits))
    if hash_bits > 62 or tables * hash_bits > num_bits:
        raise UserError(
            f"{tables} tables of {hash_bits} bits do not fit into codes of {num_bits} bits: set "
            "fewer tables or hash_bits."
        )
    return faiss.IndexBinaryMultiHash(d, tables, hash_bits)


def flat_of(num_bytes: int, blocks: Iterable[np.ndarray]) -> faiss.IndexBinaryFlat:
    """A flat index of codes that come in blocks uint8 `[m, num_bytes]`."""
    index = faiss.IndexBinaryFlat(8 * num_bytes)
    for block in blocks:
        index.add(np.ascontiguousarray(block))
    return index


def codes_of(flat: faiss.IndexBinaryFlat) -> np.ndarray:
    """The codes of a flat index, uint8 `[n, num_bytes]`; they live as long as it does."""
    if not flat.ntotal:
        return np.zeros((0, flat.code_size), np.uint8)
    codes = faiss.rev_swig_ptr(flat.xb.data(), flat.ntotal * flat.code_size)
    return codes.reshape(flat.ntotal, flat.code_size)


def write(index: faiss.IndexBinary, path: Path) -> None:
    """Writes an index, whole or not at all.

    Raises:
      OSError: it cannot be written, because the disk is full for example.
    """
    failures: list[OSError] = []
    with replacing(path) as beside, beside.open("wb") as file:

        def take(block: bytes) -> int:
            try:
                return file.write(block)
            except OSError as error:  # FAISS would make it a RuntimeError without the cause
                failures.append(error)
                return 0

        try:
            faiss.write_index_binary(index, faiss.PyCallbackIOWriter(take, 1 << 22))
        except RuntimeError as error:
            raise failures[0] if failures else OSError(brief(error)) from error
        if failures:
            raise failures[0]
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> faiss.IndexBinary:
    """Reads an index, mapped into memory where FAISS can.

    Raises:
      FileNotFoundError: there is no such file.
      UserError: it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    try:
        return faiss.read_index_binary(str(path), faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, MemoryError) as error:
        raise UserError(
            f"{path} is damaged (FAISS cannot read it): run search.py compact, or index again."
        ) from error
