"""Encoding many items in fixed-size batches on all devices."""

from collections.abc import Callable

import jax
import numpy as np

from dsh_jax import hamming
from dsh_jax.data.batches import padded_batches
from dsh_jax.data.dataset import Dataset
from dsh_jax.devices import Batch, Devices, shard
from dsh_jax.methods.base import State


def packed_bits(relaxed: np.ndarray) -> np.ndarray:
    """Relaxed codes `[n, num_bits]` -> packed bits, uint8 `[n, ceil(num_bits / 8)]`."""
    return hamming.pack(hamming.binarize(relaxed))


def encode(
    compiled: Callable[[State, Batch], jax.Array],
    state: State,
    dataset: Dataset,
    ids: np.ndarray,
    *,
    batch_size: int,
    devices: Devices,
    finish: Callable[[np.ndarray], np.ndarray] = packed_bits,
) -> np.ndarray:
    """Packed codes of some items.

    Args:
      compiled: from `devices.compile_encode`: state, inputs -> outputs `[batch, dim]`.
      state: replicated over the devices.
      dataset: all items.
      ids: rows of `dataset`, `[n]`.
      batch_size: items per call, over all devices; the last call is padded.
      devices: those that `compiled` runs on.
      finish: turns the outputs of a batch, `[m, dim]`, into packed codes `[m, num_bytes]`.

    Returns:
      uint8 `[n, ceil(num_bits / 8)]`, in the order of `ids`.
    """
    packed = []
    order = dataset.encoding_order(ids)
    for batch, num_real in padded_batches(ids[order], batch_size):
        outputs = np.asarray(compiled(state, shard(dataset.take(batch), devices)))
        packed.append(finish(outputs.reshape(-1, outputs.shape[-1])[:num_real]))
    codes = np.concatenate(packed)
    codes[order] = codes.copy()
    return codes
