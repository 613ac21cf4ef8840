"""Compares the cost of the generators: FLOPs to draw images, and the time of a training step.

    python -m benchmarks.generators [--sizes 8,32] [--width 32] [--steps 10] [--rounds 5]

Each `residual` generator is compared with `dcgan` at `--width`, in one process and in turn, so that
changes in the machine's speed affect both; a ratio is the median of the rounds' ratios. The step
draws a batch and updates the generator by the gradient of the images' mean square.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import app, flags

# If run as a file, only this folder is on the path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dsh_jax.data.signature import ImageInputs, Signature
from dsh_jax.methods.kinds import IMAGES

CLASSES, Z_DIM = 10, 100

_SIZES = flags.DEFINE_list("sizes", ["8", "32"], "Rows and columns of the images.")
_WIDTH = flags.DEFINE_integer("width", 32, "Width of dcgan.", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch", 32, "Images per step.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 10, "Steps per measurement.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Measurements of each kind.", lower_bound=1)


def compiled(name: str, size: int, width: int, batch: int) -> tuple[float, Callable[[], float]]:
    """FLOPs to draw one image, and a function that takes a step and waits for it."""
    shape = (size, size, 1 if size == 8 else 3)
    signature = Signature(ImageInputs(*shape), "single", tuple(map(str, range(CLASSES))))
    generator = IMAGES.generators[name](signature, width, jnp.dtype("float32"))
    z = jax.random.normal(jax.random.key(0), (batch, Z_DIM))
    label = jnp.eye(CLASSES)[jnp.arange(batch) % CLASSES]
    variables = jax.jit(lambda: generator.init(jax.random.key(1), z, label, train=False))()

    def loss(params):
        images, _ = generator.apply(
            {**variables, "params": params}, z, label, train=True, mutable=["batch_stats"]
        )
        return jnp.mean(jnp.square(images))

    draw = jax.jit(lambda v: generator.apply(v, z, label, train=False)).lower(variables)
    step = jax.jit(lambda p: jax.tree.map(lambda a, b: a - 1e-3 * b, p, jax.grad(loss)(p)))
    flops = (draw.compile().cost_analysis() or {}).get("flops", float("nan")) / batch
    params = jax.block_until_ready(step(variables["params"]))

    def run() -> float:
        began = time.perf_counter()
        for _ in range(_STEPS.value):
            jax.block_until_ready(step(params))
        return (time.perf_counter() - began) / _STEPS.value

    return flops, run


def main(argv: Sequence[str]) -> None:
    """Prints one line per size and width."""
    del argv
    print(f"{'size':>4}{'width':>7}{'MFLOP':>9}{'ratio':>7}{'step ms':>9}{'ratio':>7}")
    for size in map(int, _SIZES.value):
        base_flops, base = compiled("dcgan", size, _WIDTH.value, _BATCH.value)
        print(f"{size:4}{_WIDTH.value:7}{base_flops / 1e6:9.2f}{1:7.2f}{1e3 * base():9.2f}{1:7.2f}")
        for width in (_WIDTH.value, _WIDTH.value * 3 // 4, _WIDTH.value // 2):
            flops, run = compiled("residual", size, max(1, width), _BATCH.value)
            rounds = [(base(), run()) for _ in range(_ROUNDS.value)]
            ratio = statistics.median(b / a for a, b in rounds)
            seconds = statistics.median(b for _, b in rounds)
            print(
                f"{size:4}{width:7}{flops / 1e6:9.2f}{flops / base_flops:7.2f}"
                f"{1e3 * seconds:9.2f}{ratio:7.2f}",
                flush=True,
            )


if __name__ == "__main__":
    app.run(main)
