"""A trained model for programs without this package: StableHLO, ONNX, or the encoder file.

A StableHLO file is a zip of two files: `encode.bin`, which `jax.export.deserialize` reads, and
`about.json`, which says what goes in and what comes out. It is for serving: JAX promises to read it
for some months. The encoder file is the archive.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dsh_jax import export_onnx, hamming
from dsh_jax.data.signature import ImageInputs
from dsh_jax.encoder import Encoder, load_encoder
from dsh_jax.errors import UserError, brief
from dsh_jax.files import replacing

FORMS = ("stablehlo", "safetensors", "onnx")
PLATFORMS = ("cpu", "cuda", "tpu")
PROGRAM, ABOUT = "encode.bin", "about.json"
"""The files in a StableHLO file."""
FORMAT = 1
_LOCATIONS = "jax_traceback_in_locations_limit"


def export_model(model: str | Path, to: str, output: str | Path) -> Path:
    """Writes a model in another form, whole or not at all.

    Args:
      model: a workdir or an encoder file.
      to: one of `FORMS`.
      output: the file to write; one that is there is replaced.

    Returns:
      The file.

    Raises:
      UserError: there is no such model, it cannot be exported, or the file cannot be written.
      ValueError: `to` is none of them.
    """
    output = Path(output).expanduser()
    if to not in FORMS:
        raise ValueError(f"to is one of {FORMS}, not {to!r}")
    _check_output(output, Path(model).expanduser())
    if to == "stablehlo" and importlib.util.find_spec("flatbuffers") is None:
        raise UserError("JAX writes StableHLO with flatbuffers: pip install flatbuffers.")
    if to == "onnx":
        export_onnx.check_installed()
    encoder = load_encoder(model, num_devices=1)
    if to == "safetensors":
        encoder.save(output)
    elif to == "stablehlo":
        save_stablehlo(encoder, output)
    else:
        save_onnx(encoder, output)
    return output


def save_stablehlo(encoder: Encoder, path: Path) -> None:
    """Writes a StableHLO file.

    Its program maps images, uint8 `[batch, height, width, channels]`, to packed codes, uint8
    `[batch, num_bytes]`, and relaxed codes, float32 `[batch, num_bits]`, for any batch of 1 or
    more. The parameters are in it.

    Args:
      encoder: of images.
      path: of the file.

    Raises:
      UserError: the encoder is of documents, JAX cannot export it, or the file cannot be written.
    """
    inputs = _image_inputs(encoder)

    def encode(images: jax.Array) -> tuple[jax.Array, jax.Array]:
        relaxed = encoder.relaxed_of({"image": images})
        return jnp.packbits(hamming.binarize(relaxed), axis=1), relaxed

    (batch,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *inputs.shape), jnp.uint8)
    locations = jax.config.values[_LOCATIONS]
    try:
        # Otherwise the program holds the paths of this machine's source files.
        jax.config.update(_LOCATIONS, 0)
        exported = jax.export.export(jax.jit(encode), platforms=PLATFORMS)(images)
        program = exported.serialize()
    except (ValueError, NotImplementedError) as error:
        raise UserError(
            f"JAX cannot export this network ({brief(error)}): use --to safetensors."
        ) from error
    finally:
        jax.config.update(_LOCATIONS, locations)
    about = _about(encoder, inputs) | {
        "jax": {
            "version": jax.__version__,
            "platforms": list(exported.platforms),
            "calling_convention_version": exported.calling_convention_version,
        }
    }
    with _writing(path) as beside, zipfile.ZipFile(beside, "w") as file:
        # Without the time of writing, so that one model gives the same bytes again.
        file.writestr(zipfile.ZipInfo(ABOUT), json.dumps(about, indent=2) + "\n")
        file.writestr(zipfile.ZipInfo(PROGRAM), bytes(program))


def save_onnx(encoder: Encoder, path: Path) -> None:
    """Writes an ONNX file, which maps images as that of `save_stablehlo` does.

    Args:
      encoder: of images.
      path: of the file.

    Raises:
      UserError: the encoder is of documents, it cannot be converted, or the file cannot be written.
    """
    content = export_onnx.onnx_model(encoder, _about(encoder, _image_inputs(encoder)))
    with _writing(path) as beside:
        beside.write_bytes(content)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[Path]:
    try:
        with replacing(path) as beside:
            yield beside
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror or brief(error)}): name a file in a folder "
            "that you may write to, and make room."
        ) from error


def _image_inputs(encoder: Encoder) -> ImageInputs:
    inputs = encoder.signature.inputs
    if not isinstance(inputs, ImageInputs):
        raise UserError(
            f"{encoder.method} encodes {inputs.kind}, and programs take images alone: export it "
            "with --to safetensors, which keeps what it needs, such as a vocabulary."
        )
    return inputs


def _about(encoder: Encoder, inputs: ImageInputs) -> dict[str, Any]:
    """What goes into a program and what comes out, ready for JSON."""
    origin = encoder.origin
    return {
        "kind": "dsh_jax export",
        "format": FORMAT,
        "fingerprint": encoder.fingerprint,
        "method": encoder.method,
        "codes": encoder.codes,
        "num_bits": encoder.num_bits,
        "threshold": 0.5,  # a bit is 1 where its relaxed code is above it
        "bit_order": "first bit highest; the last byte is padded with zeros",
        "inputs": [{"name": "images", "dtype": "uint8", "shape": ["batch", *inputs.shape]}],
        "outputs": [
            {"name": "codes", "dtype": "uint8", "shape": ["batch", encoder.num_bytes]},
            {"name": "relaxed", "dtype": "float32", "shape": ["batch", encoder.num_bits]},
        ],
        "preprocessing": {
            **inputs.to_dict(),
            "mode": "L" if inputs.channels == 1 else "RGB",
            "steps": [
                "turn the image as its EXIF data say",
                "put it on white where it is transparent",
                "convert it to mode",
                "scale it to cover width and height (Lanczos), and cut both sides equally",
                *(["save it as JPEG of jpeg_quality and read it"] if inputs.jpeg_quality else []),
            ],
        },
        "class_names": list(encoder.class_names),
        "origin": None if origin is None else origin.to_dict(),
    }


def _check_output(output: Path, model: Path) -> None:
    if not output.parent.is_dir():
        raise UserError(f"there is no folder {output.parent}: make it, or name another --output.")
    if output.is_dir():
        raise UserError(f"{output} is a folder: name a file as --output.")
    if output.exists() and model.exists() and output.samefile(model):
        raise UserError(f"{output} is the model itself: name another file as --output.")
