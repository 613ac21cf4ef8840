"""The only module that handles devices: steps are written for one device and a named axis.

State and batches have a leading device axis, of length 1 for a single device. With several
processes it is that of this process's own devices; steps average over the devices of all.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dsh_jax import hosts
from dsh_jax.errors import UserError

AXIS = "device"
"""The named device axis that every step averages its gradients over."""

Devices = Sequence[jax.Device]
Batch = Mapping[str, jax.Array]


def pick_devices(num_devices: int, batch_sizes: Mapping[str, int]) -> Devices:
    """The local devices to encode on.

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
    _check_divisible(batch_sizes, devices)
    return devices


def pick_training_devices(num_devices: int, batch_sizes: Mapping[str, int]) -> Devices:
    """The devices to train on: the same number of each process's, in the order of the processes.

    Args:
      num_devices: how many, over all processes; 0 is all.
      batch_sizes: as for `pick_devices`.

    Raises:
      UserError: as `pick_devices`, or the processes cannot give equally many.
    """
    if hosts.count() == 1:
        return pick_devices(num_devices, batch_sizes)
    of_process: dict[int, list[jax.Device]] = {number: [] for number in range(hosts.count())}
    for device in jax.devices():
        of_process[device.process_index].append(device)
    sizes = [len(own) for own in of_process.values()]
    each, rest = divmod(num_devices, hosts.count())
    if rest or not 0 <= each <= min(sizes) or (num_devices == 0 and len(set(sizes)) > 1):
        raise UserError(
            f"num_devices is {num_devices}, but {hosts.count()} processes with "
            f"{', '.join(map(str, sizes))} devices should give equally many; set it to "
            f"{min(sizes) * hosts.count()}."
        )
    devices = [device for own in of_process.values() for device in own[: each or None]]
    _check_divisible(batch_sizes, devices)
    return devices


def local(devices: Devices) -> Devices:
    """Those of some devices that belong to this process."""
    return [device for device in devices if device.process_index == hosts.index()]


def _check_divisible(batch_sizes: Mapping[str, int], devices: Devices) -> None:
    for field, size in batch_sizes.items():
        if size % len(devices):
            raise UserError(
                f"{field} {size} is not divisible by {len(devices)} devices; "
                f"set it to a multiple of {len(devices)}."
            )


def _sharding(devices: Devices) -> NamedSharding:
    return NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec(AXIS))


def replicate(tree: Any, devices: Devices) -> Any:
    """Copies a tree to every one of some local devices: leaves `[...]` -> `[devices, ...]`."""
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
    """Splits a batch over local devices: `[batch, ...]` -> `[devices, batch / devices, ...]`."""
    parts = {name: x.reshape(len(devices), -1, *x.shape[1:]) for name, x in batch.items()}
    return jax.device_put(parts, _sharding(devices))  # one call costs less than one for each


def shard_steps(batches: Sequence[Mapping[str, np.ndarray]], devices: Devices) -> Batch:
    """Splits the batches of several steps: each `[batch, ...]` -> `[devices, steps, part, ...]`."""
    parts = {
        name: np.stack([b[name].reshape(len(devices), -1, *x.shape[1:]) for b in batches], axis=1)
        for name, x in batches[0].items()
    }
    return jax.device_put(parts, _sharding(devices))


Step = Callable[[Any, Batch, jax.Array], Any]
LookUp = Callable[[jax.Array, Batch], Batch]


def compile_step(
    step: Step, seed: int, devices: Devices, look_up: LookUp | None = None
) -> Callable[..., Any]:
    """Compiles a step for devices, of several processes perhaps; the state passed in is donated.

    Each process passes the state and the batch of its own devices.

    Args:
      step: state, batch, key -> state, metrics.
      seed: of the key.
      devices: see above.
      look_up: items of the whole data set, batch of rows -> batch of items. The compiled step then
        takes such items, on each device, as its last argument.
    """
    return jax.pmap(
        _seeded(step, seed, look_up), axis_name=AXIS, devices=devices, donate_argnums=(0,)
    )


def compile_steps(
    step: Step, seed: int, devices: Devices, look_up: LookUp | None = None
) -> Callable[..., Any]:
    """The same for several steps in one call: batches and metrics are `[devices, steps, ...]`."""
    one = _seeded(step, seed, look_up)

    def several(state: Any, batches: Batch, items: jax.Array | None = None) -> Any:
        return jax.lax.scan(lambda state, batch: one(state, batch, items), state, batches)

    return jax.pmap(several, axis_name=AXIS, devices=devices, donate_argnums=(0,))


def _seeded(step: Step, seed: int, look_up: LookUp | None) -> Callable[..., Any]:
    def seeded(state: Any, batch: Batch, items: jax.Array | None = None) -> Any:
        if look_up is not None and items is not None:
            batch = look_up(items, batch)
        return step(state, batch, jax.random.key(seed))

    return seeded


def mean_over_devices(tree: Any) -> Any:
    """The mean over all devices of a tree of float32 arrays; to be called in a step."""
    if jax.lax.axis_size(AXIS) == 1 or jax.default_backend() != "cpu":
        return jax.lax.pmean(tree, AXIS)
    # On CPUs each array is a message of its own, with the network's latency: send a single one.
    flat, unflatten = ravel_pytree(tree)
    return unflatten(jax.lax.pmean(flat, AXIS))


def compile_encode(
    encode: Callable[[Any, Batch], jax.Array], devices: Devices
) -> Callable[[Any, Batch], jax.Array]:
    """Compiles an encoder for local devices."""
    return jax.pmap(encode, axis_name=AXIS, devices=devices)


def compile_sum(
    add: Callable[..., jax.Array], devices: Devices
) -> Callable[..., jax.Array]:
    """Compiles `add(sum, ...) -> sum` for local devices; the sum passed in is donated."""
    return jax.pmap(add, axis_name=AXIS, devices=devices, donate_argnums=(0,))
