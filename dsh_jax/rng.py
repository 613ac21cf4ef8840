"""Named random streams: each depends only on its seed and name, not on earlier draws."""

import zlib

import jax
import numpy as np


def stream_rng(seed: int, stream: str, index: int) -> np.random.Generator:
    """A random generator that depends only on (seed, stream, index)."""
    return np.random.default_rng([seed, zlib.crc32(stream.encode()), index])


def named_key(key: jax.Array, name: str) -> jax.Array:
    """The key for one named use of randomness."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def sample_keys(key: jax.Array, position: jax.Array) -> jax.Array:
    """One key per sample, by its position in the global batch `[batch]`.

    So a batch gets the same random numbers on any number of devices.
    """
    return jax.vmap(lambda p: jax.random.fold_in(key, p))(position)
