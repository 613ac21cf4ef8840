"""How well a set of codes uses its bits, regardless of labels."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dsh_jax import hamming

_LISTED = 10  # bits that a sentence names
_BLOCK = 2**16  # codes whose bits are in memory at a time


def code_health(codes: np.ndarray, *, num_bits: int) -> dict[str, Any]:
    """Measures of a set of codes, ready for JSON.

    Args:
      codes: `[n, ...]` as `hamming.as_packed` takes them.
      num_bits: bits of a code.

    Returns:
      `bit_means` (share of ones per bit, `[num_bits]`), `bit_imbalance` (mean distance of these
      from 1/2: 0 is balanced, 1/2 constant), `constant_bits` (number of bits equal in all codes),
      `bit_correlation` (mean absolute correlation of two non-constant bits; 0 is independent),
      `bit_entropy` (mean entropy of a bit, at most 1 bit), `code_entropy` (entropy of the
      distribution of whole codes, in bits, at most log2 n), `distinct_codes`, `collisions` (items
      that share their code with another), `largest_bucket` (items with the most frequent code).

    Raises:
      ValueError: codes of the wrong width or content, or no codes.
    """
    packed = hamming.as_packed(codes, num_bits)
    if not len(packed):
        raise ValueError(f"codes {packed.shape} must not be empty")
    both = np.zeros((num_bits, num_bits), np.int64)
    for first in range(0, len(packed), _BLOCK):
        both += _ones_in_pairs(hamming.unpack(packed[first : first + _BLOCK], num_bits))
    means = both.diagonal() / len(packed)
    deviation = np.sqrt(means * (1 - means))
    pairs = np.triu(np.outer(deviation, deviation) > 0, 1)
    covariance = (both / len(packed) - np.outer(means, means))[pairs]
    correlations = np.abs(covariance / np.outer(deviation, deviation)[pairs])
    buckets = _buckets(packed)
    sizes = np.arange(len(buckets))
    return {
        "bit_means": means.tolist(),
        "bit_imbalance": float(np.abs(means - 0.5).mean()),
        "constant_bits": int(np.sum(deviation == 0)),
        "bit_correlation": float(correlations.mean()) if pairs.any() else 0.0,
        "bit_entropy": float(np.mean(_entropy(means) + _entropy(1 - means))),
        "code_entropy": float(buckets @ _entropy(sizes / len(packed))),
        "distinct_codes": int(buckets.sum()),
        "collisions": len(packed) - int(buckets[1]),
        "largest_bucket": len(buckets) - 1,
    }


def _buckets(packed: np.ndarray) -> np.ndarray:
    """How many codes s items have, at place s, from 0 to the most that any has; int64."""
    found = np.zeros(2, np.int64)
    for some in _parts(packed):
        words = hamming.words(some)
        one_word = words.shape[1] == 1  # then np.unique sorts numbers, which is faster than rows
        _, sizes = np.unique(words[:, 0] if one_word else words, axis=0, return_counts=True)
        of_part = np.bincount(sizes)
        found, of_part = (np.pad(x, (0, max(len(found), len(of_part)) - len(x)))
                          for x in (found, of_part))  # fmt: skip
        found = found + of_part
    return found


def _parts(packed: np.ndarray) -> Iterator[np.ndarray]:
    """The codes; of many, those with the same first byte at a time, so that memory stays small."""
    if len(packed) <= _BLOCK:
        yield packed
        return
    for byte in np.unique(packed[:, 0]):
        yield packed[packed[:, 0] == byte]


def _ones_in_pairs(bits: np.ndarray) -> np.ndarray:
    """In how many items both bits of a pair are 1: {0, 1} `[n, num_bits]` -> int64.

    Counts are exact and do not depend on the order of items.
    """
    padded = np.pad(bits.T, ((0, 0), (0, -len(bits) % 64)))
    # A row of a bit's, 64 items in a word.
    rows = np.ascontiguousarray(np.packbits(padded, axis=1)).view(np.uint64)
    return np.array([np.bitwise_count(row & rows).sum(axis=1, dtype=np.int64) for row in rows])


def constant_bits(health: Mapping[str, Any]) -> list[int]:
    """The numbers, from 0, of the bits that are equal in all codes of a `code_health`."""
    return [bit for bit, mean in enumerate(health["bit_means"]) if mean in (0.0, 1.0)]


def problems(
    health: Mapping[str, Any], name: str, *, may_be_constant: bool = False
) -> list[str]:
    """What makes scores meaningless, or bits useless, in a sentence each.

    Args:
      health: of `code_health`.
      name: of the codes, in the plural.
      may_be_constant: whether bits that are equal in all codes are no problem.
    """
    if health["distinct_codes"] == 1:
        return [f"all {name} are equal, so the scores say nothing."]
    constant = constant_bits(health)
    if not constant or may_be_constant:
        return []
    are, bits = ("is", "bit") if len(constant) == 1 else ("are", "bits")
    numbers = ", ".join(map(str, constant[:_LISTED]))
    more = f" and {len(constant) - _LISTED} more" * (len(constant) > _LISTED)
    return [
        f"{len(constant)} of {len(health['bit_means'])} bits {are} the same in all {name}: "
        f"{bits} {numbers}{more} (the first bit is 0)."
    ]


def _entropy(p: np.ndarray) -> np.ndarray:
    """-p log2 p, 0 at 0."""
    return np.asarray(-p * np.log2(np.where(p > 0, p, 1)))
