"""The only module that handles devices: steps are written for one device and a named axis.

State and batches have a leading device axis, of length 1 for a single device.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dsh_jax.errors import UserError

AXIS = "device"
"""The named device axis that every step averages its gradients over."""

Devices = Sequence[jax.Device]
Batch = Mapping[str, jax.Array]


def pick_devices(num_devices: int, batch_sizes: Mapping[str, int]) -> Devices:
    """The local devices to train or encode on.

    Args:
      num_devices: how many; 0 is all.
      batch_sizes: field name -> global batch size, to be split equally.

    Raises:
      UserError: more devices than there are, or a batch that cannot be split equally.
    """
    local = jax.local_devices()
    if not 0 <= num_devices <= len(local):
        raise UserError(
            f"num_devices is {num_devices}, but this machine has {len(local)} "
            f"{local[0].platform} device(s); set it to 0 for all of them."
        )
    devices = local[: num_devices or None]
    for field, size in batch_sizes.items():
        if size % len(devices):
            raise UserError(
                f"{field} {size} is not divisible by {len(devices)} devices; "
                f"set it to a multiple of {len(devices)}."
            )
    return devices


def _sharding(devices: Devices) -> NamedSharding:
    return NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec(AXIS))


def replicate(tree: Any, devices: Devices) -> Any:
    """Copies a tree to every device: leaves `[...]` -> `[devices, ...]`."""
    sharding = _sharding(devices)

    def stack(leaf: Any) -> jax.Array:
        leaf = np.asarray(leaf)
        return jax.device_put(np.broadcast_to(leaf, (len(devices), *leaf.shape)), sharding)

    return jax.tree.map(stack, tree)


def unreplicate(tree: Any) -> Any:
    """The first device's copy as NumPy arrays: leaves `[devices, ...]` -> `[...]`."""

    def first(leaf: jax.Array) -> np.ndarray:
        return np.asarray(leaf.addressable_shards[0].data).reshape(leaf.shape[1:])

    return jax.tree.map(first, tree)


def shard(batch: Mapping[str, np.ndarray], devices: Devices) -> Batch:
    """Splits a batch over devices: arrays `[batch, ...]` -> `[devices, batch / devices, ...]`."""
    parts = {name: x.reshape(len(devices), -1, *x.shape[1:]) for name, x in batch.items()}
    return jax.device_put(parts, _sharding(devices))  # one call costs less than one for each


def compile_step(
    step: Callable[[Any, Batch, jax.Array], Any], seed: int, devices: Devices
) -> Callable[[Any, Batch], Any]:
    """Compiles a step for all devices; the state passed in is donated."""

    def seeded(state: Any, batch: Batch) -> Any:
        return step(state, batch, jax.random.key(seed))

    return jax.pmap(seeded, axis_name=AXIS, devices=devices, donate_argnums=(0,))


def compile_encode(
    encode: Callable[[Any, Batch], jax.Array], devices: Devices
) -> Callable[[Any, Batch], jax.Array]:
    """Compiles an encoder for all devices."""
    return jax.pmap(encode, axis_name=AXIS, devices=devices)


def compile_sum(
    add: Callable[..., jax.Array], devices: Devices
) -> Callable[..., jax.Array]:
    """Compiles `add(sum, ...) -> sum` for all devices; the sum passed in is donated."""
    return jax.pmap(add, axis_name=AXIS, devices=devices, donate_argnums=(0,))
