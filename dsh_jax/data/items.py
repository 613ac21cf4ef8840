"""New items as networks take them, in batches: arrays, files and Pillow images, texts, or rows."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import scipy  # loads scipy.sparse when it is first used
from PIL import Image
from tqdm import tqdm

from dsh_jax.data.images.decoding import read_image
from dsh_jax.data.prefetch import prefetch
from dsh_jax.data.signature import ImageInputs, Inputs, VectorInputs, WeightInputs, WordInputs
from dsh_jax.data.vectors.rows import Rows, as_float32

_AT_ONCE = 16  # images that a thread decodes


@dataclass(frozen=True)
class Failure:
    """An item that could not be read.

    Attributes:
      position: among all items, from 0.
      name: its path, or its kind.
      reason: why.
    """

    position: int
    name: str
    reason: str


@dataclass(frozen=True)
class Prepared:
    """A batch as networks take it.

    Attributes:
      inputs: arrays `[batch, ...]` by name; rows after the real ones repeat the last.
      positions: of the real rows among all items, int64 `[m]`.
      failures: the items of this batch that could not be read.
    """

    inputs: Mapping[str, np.ndarray]
    positions: np.ndarray
    failures: tuple[Failure, ...]


def prepare_batches(
    items: Any,
    inputs: Inputs,
    batch_size: int,
    *,
    multiple_of: int,
    progress: bool,
) -> Iterator[Prepared]:
    """Batches of items, prepared by a thread ahead of time.

    Full batches have one size, and the last one the next power of two, so that few shapes are
    compiled.

    Args:
      items: for images a uint8 array `[n, height, width, channels]`, or an iterable of paths,
        Pillow images and uint8 arrays `[height, width, channels]`; for documents an iterable of
        strings; for tf-idf rows a SciPy sparse matrix or an array `[n, num_words]`, or an iterable
        of rows; for vectors a float array `[n, width]`, or an iterable of them `[width]`. A single
        path, image, string, row or vector counts as a list of one.
      inputs: how an item becomes what networks take.
      batch_size: items per batch.
      multiple_of: every batch's size is made a multiple of this.
      progress: whether to show a progress bar.

    Raises:
      ValueError: no items, or items of the wrong kind.
    """
    if isinstance(items, str | Path | Image.Image):
        items = [items]
    if isinstance(inputs, ImageInputs) and hasattr(items, "__array__"):
        items = np.asarray(items)
        if items.dtype.kind in "OUT":  # paths or images, one by one
            items = list(items.ravel())
        else:
            check_pixels(items, inputs, ndim=4)
    if isinstance(inputs, VectorInputs) and hasattr(items, "__array__"):
        items = np.asarray(items)  # a mapped file stays one
        items = items[None] if items.ndim == 1 else items
        check_width(items, inputs)
    is_matrix = hasattr(items, "__array__") or scipy.sparse.issparse(items)
    if isinstance(inputs, WeightInputs) and is_matrix:
        items = inputs.matrix(items)
    if not isinstance(items, Iterable):
        raise ValueError(f"items must be iterable, not {type(items).__name__}")
    total = _count(items) if isinstance(items, Sized) else None
    if total == 0:
        raise ValueError("there are no items to encode: give one or more")
    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="items") as threads:
        bar = tqdm(total=total, desc="encoding", unit="item", disable=not progress)
        chunks = _chunks(items, batch_size)
        position = 0

        def make(chunk: Any) -> Prepared:
            nonlocal position
            first, position = position, position + _count(chunk)
            if isinstance(inputs, WordInputs):
                return _documents(chunk, inputs, first, batch_size, multiple_of)
            if isinstance(inputs, WeightInputs):
                size = _size(_count(chunk), batch_size, multiple_of)
                return Prepared(_padded(inputs.rows(chunk), size), np.arange(first, position), ())
            if isinstance(inputs, VectorInputs):
                return _vectors(chunk, inputs, first, batch_size, multiple_of)
            return _images(chunk, inputs, first, batch_size, multiple_of, threads)

        # What is one batch needs no thread that works ahead.
        is_one = total is not None and total <= batch_size
        with bar:
            for prepared in map(make, chunks) if is_one else prefetch(make, chunks):
                yield prepared
                bar.update(len(prepared.positions) + len(prepared.failures))
    if not position:
        raise ValueError("there are no items to encode: give one or more")


def check_pixels(array: np.ndarray, inputs: ImageInputs, *, ndim: int) -> None:
    """Refuses arrays that are not images of bytes with the right channels.

    Raises:
      ValueError: with what to do.
    """
    form = "[n, height, width, channels]" if ndim == 4 else "[height, width, channels]"
    if array.dtype != np.uint8:
        raise ValueError(
            f"images must be uint8 in 0..255, got {array.dtype}: convert floats in 0..1 by "
            "(255 * images).round().astype('uint8')"
        )
    if array.ndim != ndim or array.shape[-1] != inputs.channels:
        raise ValueError(
            f"images must be {form} with {inputs.channels} channel(s), got {array.shape}"
        )
    if 0 in array.shape[-3:]:
        raise ValueError(f"images must have pixels, got {array.shape}")


def _chunks(items: Any, size: int) -> Iterator[Any]:
    if isinstance(items, np.ndarray) or scipy.sparse.issparse(items):
        for first in range(0, _count(items), size):
            yield items[first : first + size]
        return
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _count(items: Any) -> int:
    """How many there are; a sparse matrix has no `len`."""
    return items.shape[0] if scipy.sparse.issparse(items) else len(items)


def _documents(
    texts: list[Any], inputs: WordInputs, first: int, batch_size: int, multiple_of: int
) -> Prepared:
    for position, text in enumerate(texts, start=first):
        if not isinstance(text, str):
            raise ValueError(f"documents must be strings, but item {position} is {type(text)}")
    rows = inputs.rows(texts)
    positions = np.arange(first, first + len(texts))
    return Prepared(_padded(rows, _size(len(texts), batch_size, multiple_of)), positions, ())


def _vectors(
    chunk: Any, inputs: VectorInputs, first: int, batch_size: int, multiple_of: int
) -> Prepared:
    rows = check_vectors(chunk, inputs, first)
    positions = np.arange(first, first + len(rows))
    size = _size(len(rows), batch_size, multiple_of)
    return Prepared(_padded(inputs.rows(rows), size), positions, ())


def check_vectors(vectors: Any, inputs: VectorInputs, first: int = 0) -> np.ndarray:
    """Vectors as one array of floats `[n, width]`.

    Args:
      vectors: an array, or a list of arrays `[width]`.
      inputs: of the encoder.
      first: position of the first one among all items.

    Raises:
      ValueError: they have another width or type, or hold NaN or infinity.
    """
    try:
        array = np.asarray(vectors)
    except ValueError:
        array = np.asarray(vectors, object)  # of several lengths
    check_width(array, inputs)
    finite = np.isfinite(as_float32(array)).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"vectors must be finite, but {int((~finite).sum())} of them hold NaN, infinity or "
            f"numbers beyond float32, the first at position {first + int((~finite).argmax())}"
        )
    return array


def check_width(array: Rows, inputs: Inputs) -> None:
    """Refuses what is not a matrix of floats of the encoder's width.

    Raises:
      ValueError: says what it is.
    """
    assert isinstance(inputs, VectorInputs)
    if array.dtype.kind != "f" or array.ndim != 2 or array.shape[1] != inputs.width:
        raise ValueError(
            f"vectors must be floats [n, {inputs.width}], got {array.dtype} {array.shape}"
        )


def _images(
    chunk: Any,
    inputs: ImageInputs,
    first: int,
    batch_size: int,
    multiple_of: int,
    threads: ThreadPoolExecutor,
) -> Prepared:
    is_ready = isinstance(chunk, np.ndarray) and chunk.shape[1:] == inputs.shape
    if is_ready and not inputs.jpeg_quality:
        pixels, read = chunk, list(range(len(chunk)))
        failures: list[Failure] = []
    else:
        # Several a time: small images take hardly longer than to hand one to a thread.
        parts = threads.map(lambda part: [_pixels(item, inputs) for item in part],
                            _chunks(chunk, _AT_ONCE))  # fmt: skip
        results = [result for part in parts for result in part]
        read = [row for row, result in enumerate(results) if isinstance(result, np.ndarray)]
        failures = [
            Failure(first + row, _name(item), result)
            for row, (item, result) in enumerate(zip(chunk, results, strict=True))
            if isinstance(result, str)
        ]
        if not read:
            return Prepared({}, np.zeros(0, np.int64), tuple(failures))
        pixels = np.stack([results[row] for row in read])
    size = _size(len(read), batch_size, multiple_of)
    return Prepared(_padded({"image": pixels}, size), np.array(read) + first, tuple(failures))


def _pixels(item: Any, inputs: ImageInputs) -> np.ndarray | str:
    """An image as networks take it; or why it cannot be read."""
    size, mode = (inputs.width, inputs.height), "L" if inputs.channels == 1 else "RGB"
    if isinstance(item, str | Path):
        # Unlike `Path.expanduser`, it leaves a name like "~a.png" as it is.
        found = read_image(
            Path(os.path.expanduser(item)), size, mode, interpolation=inputs.interpolation
        )
        if isinstance(found, str) or inputs.jpeg_quality:
            return found if isinstance(found, str) else inputs.pixels(found)
        return np.asarray(found).reshape(inputs.shape)  # it has its size and mode already
    if hasattr(item, "__array__"):
        array = np.asarray(item)
        check_pixels(array, inputs, ndim=3)
        item = Image.fromarray(array[..., 0] if inputs.channels == 1 else array)
    if not isinstance(item, Image.Image):
        raise ValueError(f"images must be paths, Pillow images or uint8 arrays, not {type(item)}")
    if 0 in item.size:
        return "it has no pixels"
    try:
        return inputs.pixels(item)
    except Exception as error:  # Pillow raises nearly any kind for damaged content
        return " ".join(str(error).split())[:100].rstrip(" .") or type(error).__name__


def _name(item: Any) -> str:
    return str(item) if isinstance(item, str | Path) else type(item).__name__


def _size(count: int, batch_size: int, multiple_of: int) -> int:
    """The smallest power of two that holds the items, at most a full batch."""
    size = min(batch_size, 1 << (count - 1).bit_length())
    return -(-size // multiple_of) * multiple_of


def _padded(arrays: Mapping[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    def pad(array: np.ndarray) -> np.ndarray:
        missing = [(0, size - len(array))] + [(0, 0)] * (array.ndim - 1)
        return np.pad(array, missing, mode="edge") if len(array) < size else array

    return {name: pad(array) for name, array in arrays.items()}
