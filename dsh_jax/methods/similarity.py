"""CNNH's similarity matrix: which images are similar, as -1 and +1, if it fits in memory."""

import os
from collections.abc import Iterator

import numpy as np

DEVICE_BLOCK = 64  # rows of S that share one product on the device
_HOST_BLOCK = 512  # rows of S that are checked or made at a time on the host


def similarity_from_labels(labels: np.ndarray, *, max_bytes: int | None = None) -> np.ndarray:
    """+1 for two items that share a label, else -1; an item is always similar to itself.

    Args:
      labels: class ids `[n]`, or multi-hot 0 and 1 `[n, classes]`.
      max_bytes: memory limit; None for all memory of the machine.

    Returns:
      int8 `[n, n]`.

    Raises:
      ValueError: labels of a wrong shape or with invalid values; or the matrix, or learning codes
        from it, needs more memory.
    """
    labels = np.asarray(labels)
    if labels.ndim not in (1, 2) or 0 in labels.shape:
        raise ValueError(f"labels must be a non-empty [n] or [n, classes], got {labels.shape}")
    if labels.ndim == 1 and labels.dtype.kind not in "iu":
        raise ValueError(f"class ids must be integers, got {labels.dtype}")
    if labels.ndim == 2 and not np.all((labels == 0) | (labels == 1)):
        raise ValueError("multi-hot labels must hold only 0 and 1")
    check_memory(len(labels), 1, max_bytes)
    hot = labels.astype(np.float32)
    similarity = np.full((len(labels), len(labels)), -1, np.int8)
    for rows in row_blocks(len(labels)):
        similar = labels[rows, None] == labels if labels.ndim == 1 else hot[rows] @ hot.T > 0
        similarity[rows][similar] = 1
    np.fill_diagonal(similarity, 1)
    return similarity


def required_bytes(n: int, num_bits: int) -> int:
    """Memory that `learn_codes` needs for n rows: S and its copy on the device, blocks, codes."""
    return 2 * n * n + n * (8 * DEVICE_BLOCK + 10 * _HOST_BLOCK + 64 * num_bits)


def check_memory(n: int, num_bits: int, max_bytes: int | None = None) -> None:
    """Refuses a matrix that does not fit in memory, before anything of size `[n, n]` is made.

    Raises:
      ValueError: it needs more than `max_bytes`, or more than the machine has.
    """
    needed = required_bytes(n, num_bits)
    if max_bytes is None:
        max_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > max_bytes:
        raise ValueError(
            f"learning codes from the similarity of {n:,} images needs {needed / 2**20:,.1f} MiB "
            f"and {max_bytes / 2**20:,.1f} MiB may be used: learn from fewer labeled images."
        )


def check_similarity(similarity: np.ndarray) -> None:
    """Refuses a matrix that is not symmetric, of -1 and +1, and +1 on the diagonal.

    Raises:
      ValueError: the matrix is invalid.
    """
    fix = "similarity_from_labels makes a valid one."
    for rows in row_blocks(len(similarity)):
        if not np.all((similarity[rows] == 1) | (similarity[rows] == -1)):
            raise ValueError(f"the similarity has values other than -1 and +1: {fix}")
        if not np.array_equal(similarity[rows], similarity[:, rows].T):
            raise ValueError(f"the similarity is not symmetric: {fix}")
    if not np.all(np.diagonal(similarity) == 1):
        raise ValueError(f"the similarity has a diagonal entry other than +1: {fix}")


def row_blocks(n: int) -> Iterator[slice]:
    """Slices of n rows, one per block."""
    return (slice(start, start + _HOST_BLOCK) for start in range(0, n, _HOST_BLOCK))
