"""Training steps beside PyTorch's: `python -m benchmarks.versus_torch`.

The same networks, batch, losses and updates, on a held batch; PyTorch eagerly and by
`torch.compile`, with images in channels-last memory; on a GPU in bfloat16 too. Ours and theirs take
turns, so that changes in the machine's speed affect both. Wall time is what a user waits for;
processor time, of all threads, is fairer where other programs run. There, set OMP_NUM_THREADS=1 and
pin the process to one core, because PyTorch's threads spin while they wait. PyTorch comes from
requirements-bench.txt; `benchmarks.backbone` compares a ResNet-50.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import torch_steps
from benchmarks.held import arrays_of, our_step
from configs import cifar10_48bit_cpu, cnnh_plus_cifar10
from dsh_jax.files import write_json
from dsh_jax.training import workdir

STEPS, WARM_UP = 10, 3
Runs = Mapping[str, Callable[[], None]]
"""Name -> takes one step and waits for it."""


def torch_batch(batch: dict[str, np.ndarray], device: torch.device) -> torch_steps.Batch:
    """The same batch for PyTorch: class ids, bits of 0 and 1, channels-last images."""
    label = torch.from_numpy(batch["label"].argmax(axis=1))
    bits = torch.from_numpy((batch["target"] > 0).astype(np.float32))
    images = {name: torch.from_numpy(array).permute(0, 3, 1, 2)
              for name, array in batch.items() if name.endswith("image")}  # fmt: skip
    every = {"label": label, "target": bits, **images}
    return {name: tensor.to(device) for name, tensor in every.items()}


def waiting(
    run: Callable[[], Any], device: torch.device, dtype: torch.dtype
) -> Callable[[], None]:
    """A step of PyTorch that waits for the device; computes in `dtype` where that is shorter."""

    def wait() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            run()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return wait


def their_steps(
    make: Callable[..., Callable], batch: dict[str, np.ndarray], device: torch.device
) -> Runs:
    """Each way in which PyTorch may run a step."""
    held = torch_batch(batch, device)
    runs = {}
    for name, wrap in (("eager", lambda network: network), ("compiled", torch.compile)):
        for dtype in (torch.float32, torch.bfloat16)[: 2 if device.type == "cuda" else 1]:
            run = partial(make(device, wrap), held)
            shown = name if dtype == torch.float32 else f"{name}, bfloat16"
            runs[shown] = waiting(run, device, dtype)
    return runs


def seconds(run: Callable[[], None]) -> tuple[float, float]:
    """Wall and processor time of a step, after a few others."""
    for _ in range(WARM_UP):
        run()
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(STEPS):
        run()
    return (time.perf_counter() - wall) / STEPS, (time.process_time() - processor) / STEPS


def compare(ours: Callable[[], None], theirs: Runs, images: int, rounds: int) -> dict[str, str]:
    """Images per second of ours, and ratios to each of theirs: description -> figure."""
    runs = {"ours": ours, **theirs}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            taken[name].append(seconds(run))

    def ratio(name: str, clock: int) -> float:
        pairs = zip(taken[name], taken["ours"], strict=True)
        return statistics.median(their[clock] / our[clock] for their, our in pairs)

    wall = statistics.median(wall for wall, _ in taken["ours"])
    figures = {"images/s": f"{images / wall:,.0f}"}
    for name in theirs:
        figures[f"x PyTorch's images/s, {name}"] = (
            f"{ratio(name, 0):.2f} ({ratio(name, 1):.2f} by processor time)"
        )
    return figures


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="of which the median ratio counts")
    parser.add_argument("--only", choices=("joint", "cnnh_plus"))
    parser.add_argument("--result", default="", help="also write the figures to this JSON file")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shown = {"processor cores in use": str(len(os.sched_getaffinity(0)))}

    def show(title: str, figures: dict[str, str]) -> None:
        for name, figure in figures.items():
            shown[f"{title}: {name}"] = figure
            print(f"{title}: {name}\n    {figure}", flush=True)

    if options.only in (None, "joint"):
        config = cifar10_48bit_cpu.get_config()
        batch = arrays_of(config, config.unlabeled_batch_size)
        del batch["target"]
        ours = our_step(config, batch)
        batch["target"] = np.ones((config.batch_size, config.num_bits), np.float32)
        theirs = their_steps(torch_steps.joint_step, batch, device)
        images = config.batch_size + config.unlabeled_batch_size
        show("DSH-GANs' joint step", compare(ours, theirs, images, options.rounds))
    if options.only in (None, "cnnh_plus"):
        config = cnnh_plus_cifar10.get_config("48")
        batch = arrays_of(config, 0)
        theirs = their_steps(torch_steps.cnnh_plus_step, batch, device)
        figures = compare(our_step(config, batch), theirs, config.batch_size, options.rounds)
        show("CNNH+'s step", figures)
    if options.result:
        run = workdir.describe_run(workdir.command_line(), [])
        versions = {**run["versions"], "torch": torch.__version__}
        content = {"title": "Beside PyTorch", "figures": shown, "run": run | {"versions": versions}}
        write_json(Path(options.result), content)


if __name__ == "__main__":
    main()
