"""Times `conv2d` and XLA's own convolution, with their gradients.

Each part is timed as a separate program and, with an eighth of the batch, as the body of a
one-step `lax.fori_loop`, where XLA's CPU back end treats convolutions differently. Prints
milliseconds and native / ours.

    python -m benchmarks.convolution [--batch 64] [--dtype float32]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from dsh_jax.networks.conv import conv2d

# height = width, channels in, channels out, kernel, stride
SHAPES = [
    (32, 3, 32, 5, 1),
    (16, 32, 64, 5, 1),
    (8, 64, 128, 5, 1),
    (32, 16, 64, 3, 1),
    (16, 64, 128, 3, 1),
    (8, 128, 256, 3, 1),
    (32, 64, 128, 3, 2),
    (16, 64, 128, 1, 1),
    (32, 64, 3, 3, 1),
]
PARTS = ("forward", "input gradient", "weight gradient")


def native(x: jax.Array, kernel: jax.Array, *, strides: tuple[int, int]) -> jax.Array:
    """XLA's convolution of `[batch, h, w, c]` images."""
    return lax.conv_general_dilated(
        x, kernel, strides, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def part(convolve: Callable, name: str, strides: tuple[int, int]) -> Callable:
    """A function of `(x, kernel, dy)` that computes only one part."""

    def run(x, kernel, dy):
        if name == "forward":
            return convolve(x, kernel, strides=strides)
        if name == "input gradient":
            return jax.vjp(lambda x: convolve(x, kernel, strides=strides), x)[1](dy)[0]
        return jax.vjp(lambda k: convolve(x, k, strides=strides), kernel)[1](dy)[0]

    return run


def in_loop(run: Callable) -> Callable:
    """The same function as the body of a loop that is not unrolled."""

    def looped(steps, x, kernel, dy):
        start = jnp.zeros_like(jax.eval_shape(run, x, kernel, dy))
        return lax.fori_loop(0, steps, lambda _, __: run(x, kernel, dy), start)

    return looped


def milliseconds(run: Callable, *arguments, seconds: float) -> float:
    """The fastest of the calls that fit in `seconds`, after compilation."""
    compiled = jax.jit(run).lower(*arguments).compile()
    times: list[float] = []
    while sum(times) < seconds:
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def main() -> None:
    """Prints one line per shape and part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    flags = parser.parse_args()
    print(f"{jax.devices()[0].device_kind}, batch {flags.batch}, {flags.dtype}, milliseconds")
    print(f"{'':41}{'native':>8}{'ours':>8}{'ratio':>7}   batch / 8 in a loop: the same")
    for size, c_in, c_out, k, stride in SHAPES:
        keys = jax.random.split(jax.random.key(0), 3)
        strides = (stride, stride)
        x = jax.random.normal(keys[0], (flags.batch, size, size, c_in), flags.dtype)
        kernel = jax.random.normal(keys[1], (k, k, c_in, c_out), flags.dtype)
        shape = (flags.batch, -(-size // stride), -(-size // stride), c_out)
        dy = jax.random.normal(keys[2], shape, flags.dtype)
        few = max(1, flags.batch // 8)
        for name in PARTS:
            runs = [part(convolve, name, strides) for convolve in (native, conv2d)]
            alone = [milliseconds(run, x, kernel, dy, seconds=0.1) for run in runs]
            loops = [
                milliseconds(in_loop(run), 1, x[:few], kernel, dy[:few], seconds=0.1)
                for run in runs
            ]
            columns = "".join(f"{a:12.1f}{b:8.1f}{a / b:7.1f}" for a, b in (alone, loops))
            print(f"{f'{size}x{size} {c_in}->{c_out} {k}x{k}/{stride}':22}{name:15}{columns}")


if __name__ == "__main__":
    main()
