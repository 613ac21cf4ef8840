"""Writes the tables of docs/scaling.md from what `benchmarks.costs` counted.

    python -m tools.scaling_table [--check] [--root .]

Everything here is on paper: counted FLOPs and bytes, divided by what a machine is said to do.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsh_jax.errors import UserError
from dsh_jax.report.markdown import table
from tools import tables


@dataclass(frozen=True)
class Machine:
    """A group of devices, by its makers' and sellers' figures.

    Attributes:
      name: of it.
      devices: how many.
      teraflops: of a device at its peak, bfloat16 without sparsity.
      link_gigabytes: that a device sends a second to others in the group.
      dollars: an hour of the whole; list prices change, so take yours.
    """

    name: str
    devices: int
    teraflops: float
    link_gigabytes: float
    dollars: float


MACHINES = (
    Machine("1 x H200", 1, 989, 450, 8.0),
    Machine("8 x H200 (NVLink)", 8, 989, 450, 64.0),
    Machine("TPU v5e slice of 16", 16, 197, 200, 19.2),
)
USED = 0.25
"""The share of the peak that is assumed to be used; small images and few channels use little."""
ENCODED = 10**9
PIXEL_BYTES = 32 * 32 * 3
STORAGE_GIGABYTES = 5.0  # a second, from disks or a network to a machine
NUM_BITS, ID_BYTES = 48, 8
NODES, MEMORY_GIGABYTES = 4, 50.0  # of the search cluster; read a second by a node
NODE_DOLLARS = 1.0  # an hour of a node
Costs = Mapping[str, Any]


def machines() -> str:
    """What is assumed, as a table."""
    rows = [(m.name, m.devices, f"{m.teraflops:,.0f}", f"{m.link_gigabytes:,.0f}",
             f"{m.dollars:.2f}") for m in MACHINES]  # fmt: skip
    header = ("machine", "devices", "peak of each, TFLOP/s", "sent by each, GB/s", "USD an hour")
    return table(header, rows)


def step_seconds(costs: Costs, machine: Machine) -> tuple[float, float]:
    """A step with the config's own batch on all devices: seconds of arithmetic, and of averaging.

    Averaging float32 gradients in a ring sends 2 (n - 1) / n times their bytes.
    """
    n = machine.devices
    compute = costs["flops_per_step"] / (n * machine.teraflops * 1e12 * USED)
    sent = 4 * costs["parameters"] * 2 * (n - 1) / n
    return compute, sent / (machine.link_gigabytes * 1e9)


def training(every: Mapping[str, Costs]) -> str:
    """Time and price of each config's last stage on each machine."""
    rows = []
    for name, costs in every.items():
        for machine in MACHINES:
            compute, averaging = step_seconds(costs, machine)
            hours = costs["num_steps"] * (compute + averaging) / 3600
            rows.append(
                (f"`{name}`, stage {costs['stage']}", machine.name,
                 f"{costs['flops_per_step'] / 1e12:.2f} TFLOP: {1e3 * compute:.2f} ms",
                 f"{4 * costs['parameters'] / 1e6:.0f} MB: {1e3 * averaging:.2f} ms",
                 f"{costs['num_steps']:,}", f"{60 * hours:.1f} min",
                 f"{hours * machine.dollars:.2f}")
            )  # fmt: skip
    header = ("config", "machine", "arithmetic of a step", "gradients averaged", "steps", "time",
              "USD")  # fmt: skip
    return table(header, rows)


def encoding(costs: Costs) -> str:
    """Time and price of encoding a billion images with the best recipe."""
    rows = []
    for machine in MACHINES:
        compute = ENCODED * costs["flops_per_encoding"] / (
            machine.devices * machine.teraflops * 1e12 * USED
        )  # fmt: skip
        reading = ENCODED * PIXEL_BYTES / (STORAGE_GIGABYTES * 1e9)
        hours = max(compute, reading) / 3600
        rows.append(
            (machine.name, f"{costs['flops_per_encoding'] / 1e9:.2f} GFLOP each: "
             f"{compute / 60:.1f} min", f"{ENCODED * PIXEL_BYTES / 1e12:.1f} TB: "
             f"{reading / 60:.1f} min", f"{60 * hours:.1f} min", f"{hours * machine.dollars:.2f}")
        )  # fmt: skip
    return table(("machine", "arithmetic", "reading pixels", "the longer of the two", "USD"), rows)


def search() -> str:
    """Memory, time and price of searching a billion codes in a cluster."""
    codes = ENCODED * NUM_BITS // 8
    scan = codes / (NODES * MEMORY_GIGABYTES * 1e9)
    rows = [
        ("codes", f"{ENCODED:,} x {NUM_BITS // 8} bytes", f"{codes / 1e9:.0f} GB"),
        ("ids", f"{ENCODED:,} x {ID_BYTES} bytes", f"{ENCODED * ID_BYTES / 1e9:.0f} GB"),
        ("memory of a node", f"both, over {NODES} nodes",
         f"{(codes + ENCODED * ID_BYTES) / NODES / 1e9:.1f} GB"),
        ("one query against all codes", f"codes / ({NODES} x {MEMORY_GIGABYTES:.0f} GB/s)",
         f"{1e3 * scan:.0f} ms"),
        ("with an inverted file that reads 1/32 of them", "the same / 32",
         f"{1e3 * scan / 32:.1f} ms"),
        ("a million such queries", f"{NODES} nodes at USD {NODE_DOLLARS:.2f} an hour",
         f"USD {1e6 * scan / 32 / 3600 * NODES * NODE_DOLLARS:.2f}"),
    ]  # fmt: skip
    return table(("what", "arithmetic", "result"), rows)


def render(every: Mapping[str, Costs]) -> str:
    """All tables, as Markdown."""
    parts = [
        "### Assumed", machines(),
        f"{100 * USED:.0f} % of the peak is assumed to be used, {STORAGE_GIGABYTES:.0f} GB a "
        "second to be read from storage. None of these figures was measured here.",
        "### Training", training(every),
        "### Encoding a billion images of 32 x 32 pixels", encoding(every["cifar10_48bit_best"]),
        "### Searching a billion codes", search(),
    ]  # fmt: skip
    return "\n\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes or checks the page; returns the exit code."""
    options = tables.options(str(__doc__), arguments)
    path = options.root / "results/scaling/costs.json"
    again = "run python -m benchmarks.costs --result results/scaling/costs.json again"
    try:
        content = tables.read_json(path, again)
        text = render(content["costs"])
        page = options.root / "docs/scaling.md"
        return tables.update({page: ("scaling", text)}, check=options.check)
    except (KeyError, TypeError):
        print(f"error: {path} lacks costs; {again}.", file=sys.stderr)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
