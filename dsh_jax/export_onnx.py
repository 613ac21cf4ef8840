"""A trained model as an ONNX file, by way of jax2onnx; ONNX Runtime must agree with it.

jax2onnx wants packages of versions of its own, so it is installed in an environment of its own.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from dsh_jax import hamming
from dsh_jax.encoder import Encoder
from dsh_jax.errors import UserError

TOLERANCE = 1e-4
"""Of relaxed codes by ONNX Runtime, of those by JAX."""


def check_installed() -> None:
    """Checks that what makes and reads ONNX is installed.

    Raises:
      UserError: it is not.
    """
    missing = [name for name in ("jax2onnx", "onnxruntime") if not importlib.util.find_spec(name)]
    if missing:
        raise UserError(
            f"ONNX needs {missing[0]}: run pip install '.[export]' in an environment of its own, "
            "and export from there."
        )


def onnx_model(encoder: Encoder, about: Mapping[str, Any]) -> bytes:
    """An ONNX model from `images`, uint8 `[batch, height, width, channels]`, to packed `codes`,
    uint8 `[batch, num_bytes]`, and `relaxed` codes, float32 `[batch, num_bits]`.

    Args:
      encoder: of images.
      about: what goes into the file's metadata, as JSON under the key "about".

    Raises:
      UserError: jax2onnx cannot convert the network, or ONNX Runtime gets other codes.
    """
    fields = encoder.network_fields
    if fields.get("mirrored") or fields.get("shifted") or fields["dtype"] != "float32":
        raise UserError(
            "networks that are mirrored, shifted or of bfloat16 cannot become ONNX, and this is "
            "one: use --to stablehlo."
        )
    from jax2onnx import to_onnx

    shape = encoder.signature.image_shape
    places = np.arange(encoder.num_bits)
    weights = np.zeros((encoder.num_bits, encoder.num_bytes), np.float32)
    weights[places, places // 8] = 2.0 ** (7 - places % 8)

    def encode(images: jax.Array) -> tuple[jax.Array, jax.Array]:
        relaxed = encoder.relaxed_of({"image": images})
        # jnp.packbits has operations that few runtimes know; this product is exact.
        return ((relaxed > 0.5).astype(jnp.float32) @ weights).astype(jnp.uint8), relaxed

    (batch,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *shape), jnp.uint8)
    try:
        model = to_onnx(
            on_any_platform(encode), [images],
            input_names=["images"], output_names=["codes", "relaxed"],
        )  # fmt: skip
        model.metadata_props.add(key="about", value=json.dumps(about))
        content = model.SerializeToString()
        differs = _differs(encoder, content)
    except Exception as error:  # what a converter and a runtime of others do not know
        raise UserError(
            "jax2onnx or ONNX Runtime lacks an operation of this network: use --to stablehlo."
        ) from error
    if differs:
        raise UserError(
            "ONNX Runtime gets other codes than JAX from this network, so nothing was written: use "
            "--to stablehlo."
        )
    return content


def on_any_platform(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function with the default branch of every `jax.lax.platform_dependent`.

    ONNX has no platforms, and jax2onnx does not know how to ask for one.
    """

    def chosen(*arguments: jax.Array) -> Any:
        traced, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        outputs = _evaluate(traced, arguments)
        return jax.tree.unflatten(jax.tree.structure(shapes), outputs)

    return chosen


def _evaluate(closed: Any, arguments: Sequence[Any]) -> list[Any]:
    values = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    values.update(zip(closed.jaxpr.invars, arguments, strict=True))

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, core.Literal) else values[variable]

    for equation in closed.jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        inputs = [read(variable) for variable in equation.invars]
        if name == "platform_index":
            outputs = [len(params["platforms"]) - 1]  # the default is the last
        elif name == "cond" and isinstance(inputs[0], int):
            outputs = _evaluate(params["branches"][inputs[0]], inputs[1:])
        elif name == "jit" or "call_jaxpr" in params:  # the latter has gradients of its own
            outputs = _evaluate(params["jaxpr" if name == "jit" else "call_jaxpr"], inputs)
        else:
            outputs = equation.primitive.bind(*inputs, **params)
            outputs = outputs if equation.primitive.multiple_results else [outputs]
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(variable) for variable in closed.jaxpr.outvars]


def _differs(encoder: Encoder, content: bytes) -> bool:
    """Whether ONNX Runtime gets other codes from noise, in batches of two sizes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; its warnings are about how it plans to compute
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for size in (1, 3):
        images = rng.integers(0, 256, (size, *encoder.signature.image_shape), np.uint8)
        codes, relaxed = session.run(["codes", "relaxed"], {"images": images})
        wanted = encoder.relaxed(images)
        packed = hamming.pack(hamming.binarize(relaxed))
        if not (np.allclose(relaxed, wanted, atol=TOLERANCE) and np.array_equal(codes, packed)):
            return True
    return False
