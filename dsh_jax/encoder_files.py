"""What an encoder is made of, read and written: its description, and one portable file.

A description is what an encoder needs beside its parameters: the method's name, the config fields
of its network, and the signature of its data. A workdir keeps it as `signature.json`; an encoder
file is a safetensors file that has it in its metadata. Neither holds anything that is executed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy
from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax import origin as origins
from dsh_jax.data import signature as signatures
from dsh_jax.data.reading import open_regular
from dsh_jax.data.signature import Signature
from dsh_jax.data.splits.split import Split
from dsh_jax.errors import UserError, reason
from dsh_jax.files import read_json, replacing, write_json
from dsh_jax.methods import METHODS
from dsh_jax.methods.base import Network, NetworkRecipe
from dsh_jax.origin import Origin

FORMATS = (1, 2)
"""Of descriptions that can be read: 1 has no origin, 2 has one."""

SIGNATURE = "signature.json"
_KIND = "dsh_jax encoder"
_MOST_DESCRIPTION_BYTES = 2**30  # which holds a vocabulary
# What parsing raises for content that is no description, or has huge numbers or deep nesting.
_DAMAGED = (
    ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError
)  # fmt: skip


@dataclass(frozen=True)
class Description:
    """What an encoder needs beside its parameters.

    Attributes:
      method: a key of `METHODS`.
      codes: what its codes are called in a result.
      network: dotted config field -> value, of the fields that the method's network reads.
      batch_size: items that are encoded at a time.
      signature: of the data.
      origin: what it was trained on; None where that is unknown, as in files of version 0.2.
    """

    method: str
    codes: str
    network: Mapping[str, Any]
    batch_size: int
    signature: Signature
    origin: Origin | None = None

    @property
    def format(self) -> int:
        """Of `FORMATS`."""
        return 1 if self.origin is None else 2

    @property
    def recipe(self) -> NetworkRecipe:
        """What makes the network; ValueError for an unknown method."""
        if self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}")
        return METHODS[self.method].network

    def build(self) -> Network:
        """The network.

        Raises:
          ValueError: an unknown method, a missing or an invalid field, or inputs of another kind.
        """
        recipe = self.recipe
        if self.signature.inputs.kind not in recipe.kinds:
            raise ValueError(f"{self.method} encodes {' or '.join(recipe.kinds)}")
        known = {recipe.renamed.get(name, name): value for name, value in self.network.items()}
        network = {**recipe.defaults, **known}
        if set(network) != set(recipe.fields):
            raise ValueError(f"fields {sorted(self.network)} of {self.method}")
        if type(self.batch_size) is not int or not 1 <= self.batch_size <= 2**20:
            raise ValueError(f"batch_size {self.batch_size!r}")
        config = ConfigDict(fields.nest(network))
        try:
            fields.check(config, recipe.fields)
            return recipe.build(config, self.signature)
        except UserError as error:
            raise ValueError(str(error)) from error

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "format": self.format,
            "method": self.method,
            "codes": self.codes,
            "network": dict(self.network),
            "batch_size": self.batch_size,
            "signature": self.signature.to_dict(),
            **({} if self.origin is None else {"origin": self.origin.to_dict()}),
        }


def describe(
    config: ConfigDict, signature: Signature, codes: str, split: Split | None = None
) -> Description:
    """The description of what a config trains on data of a signature, its codes called `codes`.

    Args:
      config, signature, codes: see above.
      split: what it is trained on; None leaves the origin out.
    """
    network = {name: fields.get(config, name) for name in METHODS[config.method].network.fields}
    origin = None
    if split is not None:
        named = split.dataset, split.version, split.protocol, split.checksum
        origin = Origin(*named, split_seed=split.seed, seed=config.seed)
    return Description(config.method, codes, network, config.encode_batch_size, signature, origin)


def from_dict(content: Any) -> Description:
    """The inverse of `Description.to_dict`.

    Raises:
      ValueError: the content is no description, or of another format.
    """
    if not isinstance(content, dict) or content.get("format") not in FORMATS:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"format {found!r}, where this version reads {_formats()}")
    try:
        signature = signatures.from_dict(content["signature"])
        network = dict(content["network"])
        names = str(content["method"]), str(content["codes"])
        origin = origins.from_dict(content["origin"]) if content["format"] == 2 else None
        return Description(*names, network, content["batch_size"], signature, origin)
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"no description ({reason(error)})") from error


def fingerprint(description: Description, variables: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of parameters and description: equal encoders, on any machine, have one."""
    digest = hashlib.sha256(_canonical(description).encode())
    for name, leaf in sorted(_named(variables).items()):
        digest.update(f"\n{name} {leaf.dtype.str} {leaf.shape}\n".encode())
        digest.update(leaf.tobytes())
    return digest.hexdigest()


def save_description(description: Description, workdir: Path) -> None:
    """Writes `signature.json`, with a checksum."""
    checksum = hashlib.sha256(_canonical(description).encode()).hexdigest()
    write_json(workdir / SIGNATURE, description.to_dict() | {"checksum": checksum})


def load_description(workdir: Path) -> Description:
    """Reads what `save_description` wrote.

    Raises:
      UserError: there is none, or it is damaged or of another format.
    """
    path = workdir / SIGNATURE
    if not path.exists():
        raise UserError(
            f"{workdir} has no {SIGNATURE}, so nothing says how to encode with it; train with "
            f"this version: train.py --workdir DIR (workdirs of version 0.1 need version 0.1)."
        )
    try:
        open_regular(path, _MOST_DESCRIPTION_BYTES).close()
        content = read_json(path)
        checksum = content.pop("checksum", None) if isinstance(content, dict) else None
        description = from_dict(content)
        if checksum != hashlib.sha256(_canonical(description).encode()).hexdigest():
            raise ValueError("its checksum does not fit")
    except (OSError, *_DAMAGED) as error:
        raise UserError(
            f"{path} is damaged ({_short(error)}); restore it or train again."
        ) from error
    return description


def save(path: Path, description: Description, variables: Mapping[str, Any]) -> None:
    """Writes an encoder file, whole or not at all.

    Args:
      path: of the file.
      description: of the encoder.
      variables: of its network, player -> collections.

    Raises:
      UserError: the file cannot be written.
    """
    metadata = {
        "kind": _KIND,
        "format": str(description.format),
        "description": _canonical(description),
        "fingerprint": fingerprint(description, variables),
    }
    content = safetensors.numpy.save(_named(variables), metadata)
    try:
        with replacing(path) as beside:
            beside.write_bytes(content)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror or _short(error)}); name a file in a "
            "folder that you may write to."
        ) from error


def load(path: Path) -> tuple[Description, dict[str, Any]]:
    """Reads an encoder file.

    Returns:
      The description, and the variables: player -> collections.

    Raises:
      UserError: the file is no encoder file, of another format, cut off, or changed.
    """
    try:
        open_regular(path).close()
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            _check_kind(path, metadata)  # before the tensors, which another model's file may have
            leaves = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError, *_DAMAGED) as error:
        raise UserError(
            f"{path} cannot be read as an encoder file ({_short(error)}); copy it again, or save "
            "it again with encoder.save(FILE)."
        ) from error
    try:
        description = from_dict(json.loads(metadata["description"]))
        variables = _nested(leaves)
        if metadata["format"] != str(description.format):
            raise ValueError("it has two formats")
        if metadata["fingerprint"] != fingerprint(description, variables):
            raise ValueError("its fingerprint does not fit")
    except _DAMAGED as error:
        raise UserError(
            f"{path} is damaged or was edited ({_short(error)}); copy it again, or save it again "
            "with encoder.save(FILE)."
        ) from error
    return description, variables


def check_variables(network: Network, variables: Mapping[str, Any]) -> None:
    """Checks that variables are those of a network.

    Raises:
      ValueError: another structure, shape or type.
    """
    expected = jax.eval_shape(network.init, jax.random.key(0))
    shapes, found = _leaves(expected), _leaves(variables)
    if shapes.keys() != found.keys():
        raise ValueError(f"parameters differ: {sorted(shapes.keys() ^ found.keys())[:3]}")
    for name, leaf in found.items():
        wanted = shapes[name]
        if leaf.shape != wanted.shape or leaf.dtype != wanted.dtype:
            raise ValueError(
                f"{name} is {leaf.dtype} {leaf.shape}, not {wanted.dtype} {wanted.shape}"
            )


def _check_kind(path: Path, metadata: Mapping[str, str]) -> None:
    if metadata.get("kind") != _KIND:
        raise UserError(f"{path} is not an encoder file of dsh_jax; give one that save() wrote.")
    if metadata.get("format") not in [str(format) for format in FORMATS]:
        raise UserError(
            f"{path} has format {_short(repr(metadata.get('format')))}, and this version of "
            f"dsh_jax reads {_formats()}; install the version that wrote it."
        )


def _formats() -> str:
    return f"formats {' and '.join(map(str, FORMATS))}"


def _leaves(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves by their paths, `player/collection/.../name`; a "/" in a key is written "~1"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(variables)
    return {
        "/".join(str(entry.key).replace("~", "~0").replace("/", "~1") for entry in path): leaf
        for path, leaf in leaves
    }


def _nested(leaves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The inverse of `_leaves`."""
    nested: dict[str, Any] = {}
    for name, leaf in leaves.items():
        keys = [key.replace("~1", "/").replace("~0", "~") for key in name.split("/")]
        inner = nested
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        inner[keys[-1]] = leaf
    return nested


def _named(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays by their paths."""
    # Not `np.ascontiguousarray`, which makes a vector of a scalar.
    return {name: np.asarray(leaf, order="C") for name, leaf in _leaves(variables).items()}


def _canonical(description: Description) -> str:
    return json.dumps(description.to_dict(), sort_keys=True, separators=(",", ":"))


def _short(error: Exception | str) -> str:
    return " ".join(str(error).split())[:150].rstrip(" .") or type(error).__name__
