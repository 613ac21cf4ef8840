"""Outputs of many items: a compiled forward pass over fixed-size batches on all devices."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from dsh_jax import hamming
from dsh_jax.data.batches import padded_batches
from dsh_jax.data.dataset import Dataset
from dsh_jax.devices import Batch, Devices, shard

Outputs = Callable[[Any, Batch], jax.Array]
Finish = Callable[[np.ndarray], np.ndarray]


def packed_bits(relaxed: np.ndarray) -> np.ndarray:
    """Relaxed codes `[n, num_bits]` -> packed bits, uint8 `[n, ceil(num_bits / 8)]`."""
    return hamming.pack(hamming.binarize(relaxed))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of one label per item, `[n, classes]`."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities of several labels per item, each on its own, `[n, classes]`."""
    return np.exp(-np.logaddexp(0, -logits))


def run_batches(
    compiled: Outputs,
    stacked: Any,
    batches: Iterable[tuple[Mapping[str, np.ndarray], int]],
    devices: Devices,
    finish: Finish,
) -> list[np.ndarray]:
    """Outputs of padded batches; the devices work on one while the host takes the one before.

    Args:
      compiled: from `devices.compile_encode`: variables, inputs -> outputs `[batch, dim]`.
      stacked: variables, stacked over the devices.
      batches: inputs `[batch, ...]` by name, and how many of their rows are real.
      devices: as for `compiled`.
      finish: outputs of real rows `[m, dim]` -> what is kept of them.
    """
    results: list[np.ndarray] = []
    waiting: list[tuple[jax.Array, int]] = []

    def fetch() -> None:
        output, num_real = waiting.pop(0)
        array = np.asarray(output)
        results.append(finish(array.reshape(-1, array.shape[-1])[:num_real]))

    for inputs, num_real in batches:
        waiting.append((compiled(stacked, shard(inputs, devices)), num_real))
        if len(waiting) > 1:
            fetch()
    while waiting:
        fetch()
    return results


def run_dataset(
    compiled: Outputs,
    stacked: Any,
    dataset: Dataset,
    ids: np.ndarray,
    *,
    batch_size: int,
    devices: Devices,
    finish: Finish = packed_bits,
) -> np.ndarray:
    """Outputs of some items of a data set, `[n, ...]` in the order of `ids` `[n]`.

    Args:
      compiled, stacked, devices, finish: as for `run_batches`.
      dataset: what the ids are rows of.
      ids: `[n]`.
      batch_size: items per call, over all devices; the last call is padded.
    """
    order = dataset.encoding_order(ids)
    batches = (
        (dataset.take(batch), num_real)
        for batch, num_real in padded_batches(ids[order], batch_size)
    )
    outputs = np.concatenate(run_batches(compiled, stacked, batches, devices, finish))
    outputs[order] = outputs.copy()
    return outputs
