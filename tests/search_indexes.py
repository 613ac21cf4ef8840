"""Indexes that the tests of search share, and the slow search that they are compared with."""

import faiss
import numpy as np

from dsh_jax import hamming
from dsh_jax.search.items import Item

faiss.omp_set_num_threads(1)  # several wait for each other, which is slow beside other processes


def random_codes(n, num_bits, seed=0, centres=0):
    """Packed codes; around a few centres, so that many distances tie."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (n, num_bits))
    if centres:
        bits = rng.integers(0, 2, (centres, num_bits))[rng.integers(0, centres, n)]
        bits = bits ^ (rng.random((n, num_bits)) < 0.1)
    return hamming.pack(bits)


def items_of(codes, first=0, **fields):
    """Items whose ids are not in the order in which they are added."""
    order = np.random.default_rng(len(codes)).permutation(len(codes))
    return [
        Item(f"{first + row:05}", code.tobytes(), stamp=str(row), **fields)
        for row, code in zip(order, codes, strict=True)
    ]


def slow_search(items, code, num_bits, top=None, radius=None, labels=(), unique=None):
    """(distance, id) of the nearest items: all distances, sorted, one by one."""
    found = []
    for item in items:
        other = np.frombuffer(item.code, np.uint8)[None]
        [[distance]] = hamming.distances(code[None], other, num_bits)
        if (radius is None or distance <= radius) and (not labels or {*labels} & {*item.labels}):
            found.append((int(distance), item.id, other))
    found.sort(key=lambda hit: hit[:2])
    if unique is not None:
        kept = []
        for hit in found:
            if all(hamming.distances(hit[2], other[2], num_bits)[0, 0] > unique for other in kept):
                kept.append(hit)
        found = kept
    return [hit[:2] for hit in found][:top]


def shown(hits):
    """(distance, id) of hits."""
    return [(hit.distance, hit.item.id) for hit in hits]


class Words:
    """An encoder of documents: bit k of 8 is whether letter k of the alphabet is in the text."""

    class signature:  # noqa: N801
        class inputs:  # noqa: N801
            kind = "documents"

    num_bits, fingerprint = 8, "d" * 64

    def relaxed(self, texts):
        return np.array([[float("abcdefgh"[k] in text) for k in range(8)] for text in texts])

    def encode(self, texts):
        return hamming.pack(hamming.binarize(self.relaxed(texts)))
