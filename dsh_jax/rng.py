"""Random numbers by name: each depends on its seed and name, and on nothing drawn before."""

import zlib

import jax
import numpy as np


def stream_rng(seed: int, stream: str, index: int) -> np.random.Generator:
    """A generator of random numbers that depends on (seed, stream, index) and nothing else."""
    return np.random.default_rng([seed, zlib.crc32(stream.encode()), index])


def named_key(key: jax.Array, name: str) -> jax.Array:
    """The key of one consumer of randomness, by its name."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def sample_keys(key: jax.Array, position: jax.Array) -> jax.Array:
    """One key a sample, by its position in the global batch `[batch]`.

    So a batch draws the same numbers however many devices share it.
    """
    return jax.vmap(lambda p: jax.random.fold_in(key, p))(position)
