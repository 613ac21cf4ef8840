"""What a step and an encoding cost: `python -m benchmarks.costs --result FILE`.

Counts the FLOPs of matrix products and convolutions, a multiplication and an addition being one
each, in the traced programs. Nothing is compiled or run, so that the full-size configs can be
counted on any machine. Points outside an image's border count as others do.
"""

import argparse
import importlib
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from benchmarks.held import CLASSES, SHAPE, arrays_of
from dsh_jax.data.signature import ImageInputs, Signature
from dsh_jax.devices import AXIS
from dsh_jax.files import write_json
from dsh_jax.methods.base import kept_variables
from dsh_jax.training import workdir
from dsh_jax.training.automatic import settled
from dsh_jax.training.experiment import build_method

CONFIGS = ("cifar10_48bit", "cifar10_48bit_best")


def flops(jaxpr: Jaxpr) -> int:
    """FLOPs of the products and convolutions of a program, of what it is on a GPU or TPU.

    Raises:
      ValueError: it has a loop of unknown length.
    """
    total = 0
    for eqn in jaxpr.eqns:
        name = eqn.primitive.name
        if name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            total += 2 * _size(eqn.outvars[0]) * _size(eqn.invars[0], contracted)
        elif name == "conv_general_dilated":
            kernel = eqn.params["dimension_numbers"].rhs_spec  # outputs, inputs, then space
            total += 2 * _size(eqn.outvars[0]) * _size(eqn.invars[1], kernel[1:])
        elif name == "cond":  # the last branch is that of other platforms than the CPU
            total += flops(eqn.params["branches"][-1].jaxpr)
        elif name == "while":
            if any(flops(inner) for inner in _inner(eqn.params)):
                raise ValueError("a loop of unknown length has products")
        else:
            times = eqn.params["length"] if name == "scan" else 1
            total += times * sum(flops(inner) for inner in _inner(eqn.params))
    return total


def _size(variable: Any, axes: Sequence[int] | None = None) -> int:
    """The size of an array, or of some of its axes."""
    shape = variable.aval.shape
    return prod(shape if axes is None else [shape[axis] for axis in axes])


def _inner(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in params.values():
        if isinstance(value, ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, Jaxpr):
            yield value


def costs(name: str) -> dict[str, Any]:
    """Of a config's last stage: steps, images and FLOPs of a step, parameters, FLOPs to encode."""
    config = settled(importlib.import_module(f"configs.{name}").get_config())
    signature = Signature(ImageInputs(*SHAPE), "single", tuple(map(str, range(CLASSES))))
    method = build_method(config, signature)
    stage = method.stages[-1]
    batch = arrays_of(config, stage.batch.unlabeled_batch_size)
    del batch["target"]
    key = jax.random.key(0)
    state = jax.eval_shape(method.init, key)
    stacked = {k: jax.ShapeDtypeStruct((1, *x.shape), x.dtype) for k, x in batch.items()}
    step = jax.vmap(
        lambda state, batch: stage.step(state, batch, key), (None, 0), axis_name=AXIS, axis_size=1
    )
    image = {"image": jnp.asarray(batch["image"][:1])}
    return {
        "stage": stage.name,
        "num_steps": stage.num_steps,
        "labeled_images_per_step": config.batch_size,
        "unlabeled_images_per_step": stage.batch.unlabeled_batch_size,
        "flops_per_step": flops(jax.make_jaxpr(step)(state, stacked).jaxpr),
        "parameters": sum(int(np.prod(x.shape)) for x in jax.tree.leaves(state.params)),
        "flops_per_encoding": flops(
            jax.make_jaxpr(method.network.encode)(kept_variables(state), image).jaxpr
        ),
    }


def main() -> None:
    """Counts and prints."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--result", type=Path, help="also write the figures to this JSON file")
    options = parser.parse_args()
    found = {name: costs(name) for name in CONFIGS}
    for name, counted in found.items():
        print(name, *(f"    {what}: {value:,}" if isinstance(value, int) else f"    {what}: {value}"
                      for what, value in counted.items()), sep="\n")  # fmt: skip
    if options.result:
        run = workdir.describe_run(workdir.command_line(), [])
        write_json(options.result, {"costs": found, "run": run})


if __name__ == "__main__":
    main()
