"""Times a frozen backbone beside PyTorch's, on the same batch and the same cores.

    python -m benchmarks.backbone --torch PYTHON [--network resnet50] [--batch 32] [--rounds 5]
      [--result results/speed/backbone.json]

PYTHON is one with requirements-parity.txt, such as `.venv-parity/bin/python` after `make parity`.
The two take turns, and the fastest turn of each counts, so that other processes matter less. Prints
images per second and per second of processor time, and ours / PyTorch's. On a machine that others
use, pin it to one core (`taskset -c 1`) and read the second.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from benchmarks.results import write_result
from dsh_jax.networks.backbones import BACKBONES

Seconds = tuple[float, float]
"""Of one batch: on the clock, and of the processor."""
_TIMM = {
    "resnet18": "resnet18", "resnet34": "resnet34", "resnet50": "resnet50",
    "vit_s16": "vit_small_patch16_224", "vit_b16": "vit_base_patch16_224",
}  # fmt: skip
_THEIRS = """
import sys, time, timm, torch
model = timm.create_model(sys.argv[1], num_classes=0).eval()
images = torch.randn(int(sys.argv[2]), 3, 224, 224)
if sys.argv[3] == "channels_last":
    model, images = (x.to(memory_format=torch.channels_last) for x in (model, images))
for line in sys.stdin:
    with torch.inference_mode():
        began = time.perf_counter(), time.process_time()
        model(images)
        print(time.perf_counter() - began[0], time.process_time() - began[1], flush=True)
"""


class Theirs:
    """PyTorch in a process of its own, which takes one turn when asked."""

    def __init__(self, python: str, network: str, batch: int, layout: str) -> None:
        command = [python, "-c", _THEIRS, _TIMM[network], str(batch), layout]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1)

    def __call__(self) -> Seconds:
        """One batch."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        wall, processor = self._process.stdout.readline().split()
        return float(wall), float(processor)

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Ours:
    """The backbone in Flax, compiled."""

    def __init__(self, network: str, batch: int) -> None:
        backbone = BACKBONES[network].build(dtype=jnp.float32, axis_name=None)
        self._images = jax.random.normal(jax.random.key(0), (batch, 224, 224, 3))
        init = jax.jit(lambda key: backbone.init(key, self._images[:1], train=False))
        self._variables = init(jax.random.key(1))
        self._apply = jax.jit(lambda v, x: backbone.apply(v, x, train=False))

    def __call__(self) -> Seconds:
        """One batch."""
        began = time.perf_counter(), time.process_time()
        jax.block_until_ready(self._apply(self._variables, self._images))
        return time.perf_counter() - began[0], time.process_time() - began[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--torch", required=True, help="a Python with PyTorch and timm")
    parser.add_argument("--network", default="resnet50", choices=sorted(_TIMM))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--result", type=Path, default=None)
    options = parser.parse_args()
    ours = Ours(options.network, options.batch)
    theirs = {layout: Theirs(options.torch, options.network, options.batch, layout)
              for layout in ("contiguous", "channels_last")}  # fmt: skip
    turns: dict[str, Callable[[], Seconds]] = {"ours": ours, **theirs}
    seconds = dict.fromkeys(turns, (float("inf"), float("inf")))
    for turn in range(options.rounds + 1):
        for name, run in turns.items():
            taken = run()
            if turn:  # the first compiles
                seconds[name] = min(seconds[name][0], taken[0]), min(seconds[name][1], taken[1])
    for process in theirs.values():
        process.close()
    rates = {name: [options.batch / x for x in taken] for name, taken in seconds.items()}
    at = f"{options.network}, images of 224 x 224, batches of {options.batch}"
    figures = {}
    for name, (wall, processor) in rates.items():
        figure = f"{wall:.1f} images a second, {processor:.1f} a second of processor time"
        if name == "ours":
            figures[f"{at}, ours"] = figure
            continue
        ratios = [ours / theirs for ours, theirs in zip(rates["ours"], rates[name], strict=True)]
        about = f"{at}, PyTorch ({name.replace('_', ' ')})"
        figures[about] = f"{figure}; ours is {ratios[0]:.2f} x and {ratios[1]:.2f} x that"
    for name, figure in figures.items():
        print(f"{name}: {figure}")
    write_result(options.result, "A frozen backbone beside PyTorch", figures)


if __name__ == "__main__":
    main()
