"""Stage 1 of CNNH: target codes H from a similarity matrix S, so that H H^T / q is close to S.

The entries of H, relaxed to [-1, 1], are moved one at a time (`cnnh_sweep`). A sweep takes the rows
in random order and, in each, the bits in random order. Each row has a weight, the number of images
that it represents: 1 in the full form, and the class count in the exact form for single labels,
where the images of a class share one code.

Source: Xia, Pan, Lai, Liu & Yan, "Supervised hashing for image retrieval via image representation
learning" (AAAI 2014). The objective and the step are theirs. Ours are the initial codes, the
order, and the steps where the curvature is not positive or the objective would rise
(`cnnh_sweep.newton_step`).
"""

from dataclasses import dataclass

import jax
import numpy as np

from dsh_jax.methods.cnnh_sweep import sweep as sweep_once
from dsh_jax.methods.similarity import DEVICE_BLOCK, check_memory, check_similarity, row_blocks

_ATTEMPTS = 10  # seeds tried until no two classes share a code


@dataclass(frozen=True)
class CodesResult:
    """Codes of n rows (images, or classes with counts) and how good they are.

    Attributes:
      relaxed: H, float32 `[n, num_bits]` in [-1, 1].
      codes: its signs, int8 `[n, num_bits]` in {-1, +1}; the sign of 0 is +1.
      objectives: ||S - H H^T / num_bits||_F^2 over all pairs of images at the start and after each
        sweep, float64 `[sweeps + 1]`, never rising.
      quantized_objective: the objective of `codes`.
      quantization_gap: mean of (H - codes)^2 over images and bits.
    """

    relaxed: np.ndarray
    codes: np.ndarray
    objectives: np.ndarray
    quantized_objective: float
    quantization_gap: float


def learn_codes(
    similarity: np.ndarray,
    *,
    num_bits: int,
    seed: int,
    sweeps: int = 5,
    max_bytes: int | None = None,
) -> CodesResult:
    """Codes for any similarity, one row per image.

    Args:
      similarity: S `[n, n]` of +1 (similar) and -1, symmetric, +1 on the diagonal.
      num_bits: length of a code, >= 1.
      seed: of the initial codes and the order of the entries, >= 0.
      sweeps: how often each entry is visited, >= 1.
      max_bytes: memory limit; None for all memory of the machine.

    Raises:
      ValueError: num_bits or sweeps below 1; more memory needed than `max_bytes`; S empty, not
        square, asymmetric, not of -1 and +1, or not +1 on the diagonal.
    """
    similarity = np.asarray(similarity)
    _check_settings(num_bits, sweeps)
    if similarity.ndim != 2 or not len(similarity) or len(similarity) != similarity.shape[1]:
        raise ValueError(f"similarity must be a non-empty [n, n], got {similarity.shape}")
    check_memory(len(similarity), num_bits, max_bytes)
    check_similarity(similarity)
    counts = np.ones(len(similarity))
    return _descend(similarity.astype(np.int8, copy=False), counts, num_bits, seed, sweeps)


def learn_class_codes(
    class_counts: np.ndarray, *, num_bits: int, seed: int, sweeps: int = 5
) -> CodesResult:
    """One code per class, for images with a single label: exact, with one row per class.

    Minimises the sum over classes a, b of n_a n_b (S_ab - H_a. H_b. / q)^2, S_ab = +1 if a = b and
    -1 otherwise: the objective of `learn_codes` if the images of a class share one code. If two
    classes get the same code, further seeds are tried, ten in all, and the first result with the
    most distinct codes is kept. Classes may still share a code if there are barely more codes than
    classes and the counts are uneven: the objective allows it.

    Args:
      class_counts: images of each class, integers `[classes]`, each >= 1.
      num_bits, seed, sweeps: as `learn_codes` takes them.

    Returns:
      Rows are classes; the objectives and the gap are over images, as `learn_codes` gives them.

    Raises:
      ValueError: num_bits or sweeps below 1; a class without images; the counts are not integers
        `[classes]`.
    """
    counts = np.asarray(class_counts)
    _check_settings(num_bits, sweeps)
    if counts.ndim != 1 or not len(counts) or counts.dtype.kind not in "iu":
        raise ValueError(f"class_counts must be integers [classes], got {counts.shape} "
                         f"{counts.dtype}")  # fmt: skip
    if counts.min() < 1:
        raise ValueError(
            f"class {int(counts.argmin())} has {counts.min()} images to learn a code for: "
            "leave the class out or add items of it."
        )
    similarity = 2 * np.eye(len(counts), dtype=np.int8) - 1
    tries = []
    for attempt in range(_ATTEMPTS):
        result = _descend(similarity, counts.astype(float), num_bits, seed + attempt, sweeps)
        tries.append((len(np.unique(result.codes, axis=0)), result))
        if tries[-1][0] == min(len(counts), 2**num_bits):
            break
    return max(tries, key=lambda pair: pair[0])[1]


def initial_codes(n: int, num_bits: int, seed: int) -> np.ndarray:
    """The initial codes: uniform in [-1, 1), float32 `[n, num_bits]`."""
    rng = np.random.default_rng([seed, 0])
    return rng.uniform(-1, 1, (n, num_bits)).astype(np.float32)


def sweep_order(n: int, num_bits: int, seed: int, sweep: int) -> tuple[np.ndarray, np.ndarray]:
    """The order of the entries in a sweep, counted from 1.

    Returns:
      (rows, bits): int32 `[n]` and `[n, num_bits]`; `bits[k]` is for row `rows[k]`.
    """
    rng = np.random.default_rng([seed, sweep])
    rows = rng.permutation(n).astype(np.int32)
    bits = np.tile(np.arange(num_bits, dtype=np.int32), (n, 1))
    return rows, rng.permuted(bits, axis=1, out=bits)


def _descend(
    similarity: np.ndarray, counts: np.ndarray, num_bits: int, seed: int, sweeps: int
) -> CodesResult:
    """All sweeps, for rows that represent `counts` images each."""
    n = len(similarity)
    num_blocks = -(-n // DEVICE_BLOCK)
    block = -(-n // num_blocks)
    padding = num_blocks * block - n
    device = _device()
    on_device = jax.device_put(similarity, device)
    weights = jax.device_put((counts / counts.mean()).astype(np.float32), device)
    relaxed = initial_codes(n, num_bits, seed)
    objectives = [_objective(similarity, counts, relaxed)]
    for sweep in range(1, sweeps + 1):
        rows, bits = sweep_order(n, num_bits, seed, sweep)
        rows = np.pad(rows, (0, padding), constant_values=n).reshape(num_blocks, block)
        bits = np.pad(bits, ((0, padding), (0, 0))).reshape(num_blocks, block, num_bits)
        start = jax.device_put(relaxed, device)
        moved = np.asarray(sweep_once(start, on_device, weights, rows, bits))
        objective = _objective(similarity, counts, moved)
        if objective > objectives[-1]:  # only by rounding: the descent has converged
            moved, objective = relaxed, objectives[-1]
        relaxed = moved
        objectives.append(objective)
    codes = np.where(relaxed < 0, -1, 1).astype(np.int8)
    return CodesResult(
        relaxed=relaxed,
        codes=codes,
        objectives=np.array(objectives),
        quantized_objective=_objective(similarity, counts, codes),
        quantization_gap=float(
            np.average(np.square(relaxed - codes).mean(axis=1, dtype=float), weights=counts)
        ),
    )


def _objective(similarity: np.ndarray, counts: np.ndarray, codes: np.ndarray) -> float:
    """||S - H H^T / q||_F^2 over images in float64, by ||H H^T||_F = ||H^T H||_F."""
    codes = codes.astype(float)
    weighted = counts[:, None] * codes
    agreement = sum(
        np.sum(weighted[rows] * (similarity[rows].astype(float) @ weighted))
        for rows in row_blocks(len(codes))
    )
    squares = np.sum(np.square(codes.T @ weighted))
    num_bits = codes.shape[1]
    return float(counts.sum() ** 2 - 2 / num_bits * agreement + squares / num_bits**2)


def _device() -> jax.Device:
    """The CPU, even if there is an accelerator, where launching many tiny steps takes longer."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS excludes the CPU
        return jax.local_devices()[0]


def _check_settings(num_bits: int, sweeps: int) -> None:
    if num_bits < 1:
        raise ValueError(f"CNNH cannot make codes of {num_bits} bits: choose at least 1 bit.")
    if sweeps < 1:
        raise ValueError(f"CNNH cannot learn codes in {sweeps} sweeps: choose at least 1 sweep.")
