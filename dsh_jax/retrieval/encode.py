"""Encoding many images in fixed-size batches on all devices."""

from collections.abc import Callable

import jax
import numpy as np

from dsh_jax import hamming
from dsh_jax.data.batches import padded_batches
from dsh_jax.methods.base import State
from dsh_jax.training.parallel import Devices, shard


def encode(
    compiled: Callable[[State, jax.Array], jax.Array],
    state: State,
    images: np.ndarray,
    ids: np.ndarray,
    *,
    batch_size: int,
    devices: Devices,
) -> np.ndarray:
    """Packed codes of some images.

    Args:
      compiled: an encoder from `parallel.compile_encode`.
      state: stacked over the devices.
      images: uint8 `[num_images, height, width, channels]`.
      ids: rows of `images`, `[n]`.
      batch_size: images a call, over all devices; the last call is padded.
      devices: as for the encoder.

    Returns:
      uint8 `[n, ceil(num_bits / 8)]`, in the order of `ids`.
    """
    packed = []
    for batch, num_real in padded_batches(ids, batch_size):
        relaxed = np.asarray(compiled(state, shard({"image": images[batch]}, devices)["image"]))
        bits = hamming.binarize(relaxed.reshape(-1, relaxed.shape[-1])[:num_real])
        packed.append(hamming.pack(np.asarray(bits)))
    return np.concatenate(packed)
