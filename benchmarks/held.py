"""A random batch that stays on the device, and a method's last step on it."""

from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from dsh_jax.data.signature import ImageInputs, Signature
from dsh_jax.devices import compile_step, replicate, shard
from dsh_jax.training.experiment import build_method

SHAPE, CLASSES = (32, 32, 3), 10


def arrays_of(
    config: ConfigDict, unlabeled: int, *, num_classes: int = CLASSES
) -> dict[str, np.ndarray]:
    """A random batch of CIFAR-10's shape as training has it."""
    rng = np.random.default_rng(0)
    size = config.batch_size
    label = np.zeros((size, num_classes), np.float32)
    label[np.arange(size), rng.integers(0, num_classes, size)] = 1
    batch = {
        "image": rng.integers(0, 256, (size, *SHAPE), dtype=np.uint8),
        "label": label,
        "position": np.arange(size, dtype=np.int32),
        "target": 2 * rng.integers(0, 2, (size, config.num_bits)).astype(np.float32) - 1,
    }
    if unlabeled:
        batch["unlabeled_image"] = rng.integers(0, 256, (unlabeled, *SHAPE), dtype=np.uint8)
        batch["unlabeled_position"] = np.arange(size, size + unlabeled, dtype=np.int32)
    return batch


def our_step(config: ConfigDict, batch: dict[str, np.ndarray]) -> Callable[[], None]:
    """Takes the last stage's step of a config and waits for it."""
    names = tuple(map(str, range(batch["label"].shape[1])))
    method = build_method(config, Signature(ImageInputs(*SHAPE), "single", names))
    devices = jax.local_devices()[:1]
    step = compile_step(method.stages[-1].step, config.seed, devices)
    held = shard(batch, devices)
    state = replicate(jax.jit(method.init)(jax.random.key(config.seed)), devices)

    def run() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(step(state, held))

    return run
