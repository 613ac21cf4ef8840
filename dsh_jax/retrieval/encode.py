"""Encoding many images in fixed-size batches on all devices."""

from collections.abc import Callable

import jax
import numpy as np

from dsh_jax import hamming
from dsh_jax.data.batches import padded_batches
from dsh_jax.methods.base import State
from dsh_jax.training.parallel import Devices, shard

Compiled = Callable[[State, jax.Array], jax.Array]


def map_images(
    compiled: Compiled,
    state: State,
    images: np.ndarray,
    ids: np.ndarray,
    *,
    batch_size: int,
    devices: Devices,
    finish: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> np.ndarray:
    """What a network makes of some images.

    Args:
      compiled: from `parallel.compile_encode`: state, images -> outputs `[batch, dim]`.
      state: stacked over the devices.
      images: uint8 `[num_images, height, width, channels]`.
      ids: rows of `images`, `[n]`.
      batch_size: images a call, over all devices; the last call is padded.
      devices: as for `compiled`.
      finish: what becomes of the outputs `[m, dim]` of a batch, so that not all need be kept.

    Returns:
      `[n, ...]`, in the order of `ids`.
    """
    results = []
    for batch, num_real in padded_batches(ids, batch_size):
        outputs = np.asarray(compiled(state, shard({"image": images[batch]}, devices)["image"]))
        results.append(finish(outputs.reshape(-1, outputs.shape[-1])[:num_real]))
    return np.concatenate(results)


def encode(
    compiled: Compiled,
    state: State,
    images: np.ndarray,
    ids: np.ndarray,
    *,
    batch_size: int,
    devices: Devices,
) -> np.ndarray:
    """Packed codes of some images, uint8 `[n, ceil(num_bits / 8)]`; arguments as `map_images`."""
    return map_images(
        compiled, state, images, ids, batch_size=batch_size, devices=devices,
        finish=lambda relaxed: hamming.pack(hamming.binarize(relaxed)),
    )  # fmt: skip
