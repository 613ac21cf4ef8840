"""Decodes images once, to one size, and reads them back by row.

A cache is one ArrayRecord file: one record per image, and a last record that describes them. Up to
`RAW_UP_TO` pixels per side a record holds raw pixels, which are several times faster to read;
larger images are stored as JPEG of quality 95, which takes a fraction of the space. Where files
have changed, or a folder has moved, only what no cache holds yet is decoded.
"""

import copy
import hashlib
import json
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from tqdm import tqdm

from dsh_jax.data.images.decoding import (
    LANCZOS,
    MOST_PIXELS,
    allow_pixels,
    as_jpeg,
    read_content,
    try_to_decode,
)
from dsh_jax.data.images.earlier_caches import Earlier, open_cache
from dsh_jax.data.images.listing import Listing
from dsh_jax.errors import UserError
from dsh_jax.files import locked, replacing

FORMAT = 1  # of the images: those of another format are decoded again
_LAYOUT = 2  # of the last record
RAW_UP_TO = 64
JPEG_QUALITY = 95


class CachedImages:
    """The images of a cache file: indexed like an array, decoded on access.

    Attributes:
      shape: `(n, size, size, 3)`.
      kept: rows of the listing that could be decoded, int64 `[n]`.
      skipped: the others, each as "name: reason".
      contents: SHA-256 (hex) of the files of `kept`, `[n]`.
      version: identifies the images; the same on every machine.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, path: Path) -> None:
        found = open_cache(path)
        if found is None:
            raise UserError(f"{path} holds no images, or is damaged: delete it to rebuild it.")
        self._reader, index = found
        self._path, self._raw = path, index["raw"]
        self.kept = np.array(index["kept"], np.int64)
        self.skipped = tuple(index["skipped"])
        self.contents = tuple(index["contents"])
        self.version: str = index["version"]
        self.shape = (len(self.kept), index["size"], index["size"], 3)
        self.nbytes = int(np.prod(self.shape, dtype=np.int64))
        self._rows = np.arange(len(self.kept))
        self._threads = ThreadPoolExecutor(_num_cores(), thread_name_prefix="images")

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def jpeg_quality(self) -> int:
        """Of the JPEGs in the file; 0 where it holds pixels."""
        return 0 if self._raw else JPEG_QUALITY

    def __getitem__(self, ids: Any) -> np.ndarray:
        """Images uint8 `[..., size, size, 3]` of ids `[...]`, or of any index to the first axis.

        Raises:
          UserError: the file is damaged.
        """
        rows = self._rows[ids]
        flat = rows.reshape(-1)
        images = np.empty((len(flat), *self.shape[1:]), np.uint8)
        at_once = min(64, -(-len(flat) // _num_cores()) or 1)

        def read(first: int) -> None:
            try:
                records = self._reader.read(flat[first : first + at_once].tolist())
            except RuntimeError as error:  # what array_record raises for a wrong checksum
                raise UserError(f"{self._path} is damaged: delete it to rebuild it.") from error
            for place, record in enumerate(records, start=first):
                images[place] = self._pixels(record)

        for _ in self._threads.map(read, range(0, len(flat), at_once)):
            pass  # iterating raises what `read` raised
        return images.reshape(*rows.shape, *self.shape[1:])

    def _pixels(self, record: bytes) -> np.ndarray:
        if self._raw:
            return np.frombuffer(record, np.uint8).reshape(self.shape[1:])
        # Not `open_image`: it parses the header in Python, which doubles the time for small images.
        return np.asarray(Image.frombytes("RGB", self.shape[1:3], record, "jpeg", "RGB", ""))

    def arranged(self, rows: np.ndarray) -> "CachedImages":
        """The images in another order, `rows` `[m]`; where a row is -1, there is none to read."""
        other = copy.copy(self)
        other._rows = np.where(rows < 0, -1, self._rows[rows])
        other.shape = (len(rows), *self.shape[1:])
        other.nbytes = int(np.prod(other.shape, dtype=np.int64))
        return other

    def setflags(self, *, write: bool) -> None:
        """Does nothing, as these images are never writable; arrays have this method too."""

    def in_memory(self) -> np.ndarray:
        """All images, uint8 `[n, size, size, 3]`."""
        return self[:]


def cached_images(
    listing: Listing,
    *,
    size: int,
    cache: Path,
    raw: bool | None = None,
    max_pixels: int = MOST_PIXELS,
    interpolation: str = LANCZOS,
) -> CachedImages:
    """The images of a listing in one size, from its cache, which is built if needed.

    A cache is rebuilt when the files' paths, sizes or modification times have changed; then only
    files of unknown content are decoded. If several processes need it, one builds it and the others
    wait.

    Args:
      listing: the files.
      size: pixels per side; see `decoding.decode_image`.
      cache: the folder for cache files.
      raw: store raw pixels rather than JPEG; None: if `size` is at most `RAW_UP_TO`.
      max_pixels: larger images are left out.
      interpolation: by which they are resized, a key of `decoding.INTERPOLATIONS`.

    Raises:
      UserError: no image can be decoded, or the cache cannot be written.
    """
    raw = size <= RAW_UP_TO if raw is None else raw
    place = checksum(str(listing.source.resolve()))[:8]
    other = {} if interpolation == LANCZOS else {"interpolation": interpolation}
    ending = _ending(size, other)
    path = cache.expanduser() / f"{listing.source.name}-{place}{ending}"
    stamps = [_stamp(path) for path in listing.paths]
    limit = [] if max_pixels == MOST_PIXELS else [max_pixels]
    key = checksum([FORMAT, _LAYOUT, size, raw, stamps, *limit, *other.values()])
    try:
        if not _is_of(path, key):
            with locked(path):
                if not _is_of(path, key):  # another process may have built it meanwhile
                    _make(path, listing, size, raw, key, stamps, max_pixels, other)
    except (OSError, RuntimeError) as error:  # array_record raises RuntimeError for a full disk
        raise UserError(
            f"The cache {path} cannot be written ({' '.join(str(error).split())[:150]}): set"
            " data.cache_dir to a writable folder with enough space."
        ) from error
    return CachedImages(path)


def _make(
    path: Path,
    listing: Listing,
    size: int,
    raw: bool,
    key: str,
    stamps: list[str],
    max_pixels: int,
    other: dict[str, str],
) -> None:
    """Writes all images into a new cache, which then replaces any old one.

    Files that the old one has are not read again. If there is none, as after the folder was
    renamed, files are read, and what any cache of this size has is not decoded again.
    """
    allow_pixels(max_pixels)
    limits: dict[str, Any] = {"max_pixels": max_pixels, "limited_by": "data.max_pixels"}
    how: dict[str, Any] = {**limits, **other}
    made = {"format": FORMAT, "size": size, "raw": raw, "max_pixels": max_pixels, **other}
    caches = [path] if path.exists() else sorted(path.parent.glob(f"*{_ending(size, other)}"))
    earlier = Earlier(caches, made)

    def record(row: int) -> tuple[bytes, str]:
        """An image's record and its file's digest; or an empty record and the reason."""
        found = earlier.of_stamp(stamps[row])
        if found is not None:
            return found
        content = read_content(listing.paths[row], **limits)
        if isinstance(content, str):
            return b"", content
        digest = hashlib.sha256(content).hexdigest()
        pixels = earlier.of_content(digest)
        if pixels is None:
            image = try_to_decode(content, (size, size), **how)
            if isinstance(image, str):
                return b"", image
            pixels = image.tobytes() if raw else as_jpeg(image, JPEG_QUALITY)
        return pixels, digest

    kept: list[int] = []
    digests: list[str] = []
    skipped: list[str] = []
    for stale in path.parent.glob(f".{path.name}.*.tmp"):  # left by killed processes
        stale.unlink()
    is_new = [not earlier.knows(stamp) for stamp in stamps]
    bar = tqdm(total=sum(is_new), desc=f"reading {listing.source.name}", unit="image",
               disable=not any(is_new), mininterval=0.5 if sys.stderr.isatty() else 30)  # fmt: skip
    with (
        bar, replacing(path) as beside, warnings.catch_warnings(),
        ThreadPoolExecutor(_num_cores()) as threads,
    ):  # fmt: skip
        warnings.simplefilter("ignore")  # odd metadata; `open_image` refuses what is too large
        writer = ArrayRecordWriter(str(beside), "group_size:1,uncompressed")
        for first in range(0, len(listing), 256):  # limits the records held in memory
            rows = range(first, min(first + 256, len(listing)))
            for row, (content, note) in zip(rows, threads.map(record, rows), strict=True):
                if content:
                    writer.write(content)
                    kept.append(row)
                    digests.append(note)
                else:
                    skipped.append(f"{listing.names[row]}: {note}")
                bar.update(is_new[row])
        if not kept:
            raise UserError(
                f"None of the {len(listing)} images of {listing.source} can be decoded (the first:"
                f" {skipped[0]}): check that they are images."
            )
        index = {
            "key": key, "version": checksum([FORMAT, size, raw, digests, *other.values()]),
            **made, "kept": kept,
            "skipped": skipped, "contents": digests, "stamps": [stamps[row] for row in kept],
        }  # fmt: skip
        writer.write(json.dumps(index).encode())
        writer.close()


def _ending(size: int, other: dict[str, str]) -> str:
    """The end of the name of a cache: images resized otherwise have one of their own."""
    return f"-{size}px{''.join('-' + value for value in other.values())}.array_record"


def _is_of(path: Path, key: str) -> bool:
    found = open_cache(path)
    return found is not None and found[1].get("key") == key


def _stamp(path: Path) -> str:
    """A digest of a file's path, size and modification time."""
    try:
        stat = path.stat()
    except OSError:  # deleted since it was listed; decoding will report it
        return ""
    known = json.dumps([str(path.absolute()), stat.st_size, stat.st_mtime_ns])
    return hashlib.sha256(known.encode()).hexdigest()[:16]


def checksum(content: Any) -> str:
    """The first 12 hex digits of the SHA-256 of JSON content."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def _num_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
