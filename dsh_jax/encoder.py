"""A trained model as a thing of its own: items in, codes out, no data set anywhere.

    encoder = load_encoder("runs/mine")
    codes = encoder.encode(["a.png", "b.png"])
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dsh_jax import encoder_files
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.documents.rows import sparse_rows
from dsh_jax.data.items import Failure, Prepared, prepare_batches
from dsh_jax.data.signature import Signature
from dsh_jax.devices import Batch, Devices, compile_encode, pick_devices, replicate
from dsh_jax.encoder_files import Description
from dsh_jax.errors import UserError
from dsh_jax.forward import Finish, Outputs, packed_bits, run_batches, run_dataset, sigmoid, softmax
from dsh_jax.networks.graded import Graded
from dsh_jax.origin import Origin

BLOCK = 2**16
"""Documents whose relaxed codes are in memory at a time."""


class UnreadableItems(UserError):
    """Some items could not be read; the others were encoded, and are not lost.

    Attributes:
      failures: what could not be read: position, name and reason each.
      positions: of the items that were encoded, int64 `[m]`.
      outputs: their codes (or relaxed codes, or probabilities), `[m, ...]`.
    """

    def __init__(
        self, failures: tuple[Failure, ...], positions: np.ndarray, outputs: np.ndarray
    ) -> None:
        first = failures[0]
        more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
        super().__init__(
            f"item {first.position} ({first.name}) cannot be read: {first.reason}{more}; "
            f"leave it out, or take the outputs of the others ({len(positions)}) from this "
            "exception."
        )
        self.failures, self.positions, self.outputs = failures, positions, outputs


class Encoder:
    """Codes of new items, by a trained network.

    Made by `load_encoder`. Items are images, documents or vectors, as the method was trained on:

    - images: a uint8 array `[n, height, width, channels]` of any size; or paths, Pillow images and
      uint8 arrays `[height, width, channels]`, in a sequence or from an iterator. All are cut to
      the square in their middle and resized as the training images were.
    - documents: strings, in a sequence or from an iterator.
    - tf-idf rows, of a data source that has no texts: a SciPy sparse matrix or an array
      `[n, num_words]` of weights, or rows in a sequence or from an iterator. They are divided by
      their lengths, as the training rows were.
    - vectors: a float array `[n, width]`, or arrays `[width]` in a sequence or from an iterator.
      They are normalised as the training vectors were.

    Args:
      description: what the network is.
      variables: its parameters and statistics, player -> collections.
      devices: what it runs on.

    Raises:
      ValueError: the variables are of another network.
    """

    def __init__(
        self, description: Description, variables: Mapping[str, Any], devices: Devices
    ) -> None:
        self._network = network = description.build()
        encoder_files.check_variables(network, variables)
        self._description = description
        self._variables = dict(variables)
        self._devices = devices
        self._stacked = replicate(self._variables, devices)
        self._encode = compile_encode(network.encode, devices)
        on_host = all(device.platform == "cpu" for device in devices)
        self._encode_sparse = network.encode_sparse if on_host else None
        self._classify = network.classify and compile_encode(network.classify, devices)
        self._represent = network.represent and compile_encode(network.represent, devices)
        self._both: Outputs | None = None  # compiled when first asked for

    @property
    def signature(self) -> Signature:
        """How items are prepared, and what the classes are."""
        return self._description.signature

    @property
    def variables(self) -> Mapping[str, Any]:
        """Parameters and statistics, player -> collections."""
        return self._variables

    @property
    def method(self) -> str:
        """The method that it was trained with."""
        return self._description.method

    @property
    def codes(self) -> str:
        """What its codes are called in a result."""
        return self._description.codes

    @property
    def network_fields(self) -> dict[str, Any]:
        """The config fields of the network, by dotted name."""
        return dict(self._description.network)

    def graded(self, graded: Graded) -> Encoder:
        """An encoder with the same network whose codes are graded class codes.

        Args:
          graded: as `retrieval.graded.fit_graded` fits it to validation items.

        Raises:
          ValueError: there is no classifier, or fewer bits than classes.
        """
        network = self.network_fields | {"head": "graded"}
        network |= {f"graded.{name}": value for name, value in asdict(graded).items()}
        description = replace(self._description, codes="graded", network=network)
        return Encoder(description, self._variables, self._devices)

    def with_hash_layer(self, kernel: np.ndarray, bias: np.ndarray, codes: str) -> Encoder:
        """An encoder with the same representation and another hash stream, a dense layer.

        Args:
          kernel, bias: of the layer, `[features, num_bits]` and `[num_bits]`; the length of the
            codes may be another one than before.
          codes: what its codes are called in a result.

        Raises:
          ValueError: the network has no hash stream on shared features, or one of another size.
        """
        if not self.has_hash_stream:
            raise ValueError(f"{self.method} has no hash stream on features of a network")
        plain = {"head": "hash", "hash_stream.sharpness": 0.0, "num_bits": len(bias)}
        network = self.network_fields | plain
        layer = {"kernel": np.float32(kernel), "bias": np.float32(bias)}
        variables = {**self._variables, "hash": {"params": {"Dense_0": layer}}}
        description = replace(self._description, codes=codes, network=network)
        return Encoder(description, variables, self._devices)

    def with_views(self, *, mirrored: bool, shifted: int) -> Encoder:
        """An encoder with the same parameters, whose outputs are means over other views of images.

        Args:
          mirrored: whether mirror images are among them; twice the cost.
          shifted: by how many pixels images are moved, see `methods.views`; three times the cost
            unless it is 0.

        Raises:
          ValueError: the encoder takes no images, or none that can be moved so far.
        """
        if "shifted" not in self._description.recipe.fields:
            raise ValueError(f"{self.method} takes no images, so there are no views of them")
        network = self.network_fields | {"mirrored": mirrored, "shifted": shifted}
        description = replace(self._description, network=network)
        return Encoder(description, self._variables, self._devices)

    @property
    def views(self) -> dict[str, Any]:
        """The arguments of `with_views` that it has; empty for what takes no images."""
        known = {**self._description.recipe.defaults, **self.network_fields}
        return {name: known[name] for name in ("mirrored", "shifted") if name in known}

    @property
    def origin(self) -> Origin | None:
        """What it was trained on; None for an encoder of version 0.2, which does not say."""
        return self._description.origin

    @property
    def num_bits(self) -> int:
        """Length of a code."""
        return self._description.network["num_bits"]

    @property
    def num_bytes(self) -> int:
        """Length of a packed code."""
        return -(-self.num_bits // 8)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the classes, or tags, in the order of `probabilities`."""
        return self.signature.class_names

    @property
    def has_classifier(self) -> bool:
        """Whether there are `probabilities`."""
        return self._classify is not None

    @property
    def has_hash_stream(self) -> bool:
        """Whether codes are outputs of a layer on features that a network shares."""
        return "hash_stream.sharpness" in self.network_fields

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of parameters, signature and origin: codes of two encoders are comparable
        only where it is the same."""
        return encoder_files.fingerprint(self._description, self._variables)

    @property
    def batch_size(self) -> int:
        """How many items of a data set are encoded at a time, over all devices."""
        # This machine may have another number of devices than the one of the training.
        per_device = -(-self._description.batch_size // len(self._devices))
        return per_device * len(self._devices)

    def encode(
        self, items: Any, *, batch_size: int | None = None, progress: bool = False
    ) -> np.ndarray:
        """Packed codes of some items.

        Args:
          items: see the class.
          batch_size: items at a time, over all devices; None is as in training's evaluation.
          progress: whether to show a progress bar.

        Returns:
          uint8 `[n, num_bytes]`, eight bits per byte, first bit highest (`hamming.unpack`).

        Raises:
          ValueError: no items, or items of the wrong kind: floats, another number of channels.
          UnreadableItems: files or images that cannot be decoded; it holds the others' codes.
        """
        return self._run(self._encode, packed_bits, items, batch_size, progress)

    def relaxed(
        self, items: Any, *, batch_size: int | None = None, progress: bool = False
    ) -> np.ndarray:
        """Relaxed codes in [0, 1], float32 `[n, num_bits]`; otherwise as `encode`."""
        return self._run(self._encode, np.asarray, items, batch_size, progress)

    def probabilities(
        self, items: Any, *, batch_size: int | None = None, progress: bool = False
    ) -> np.ndarray:
        """Class probabilities, float32 `[n, classes]`; otherwise as `encode`.

        They sum to 1 where an item has one label; with several labels each is on its own.

        Raises:
          ValueError: the method has no classifier; and as for `encode`.
        """
        if self._classify is None:
            raise ValueError(f"{self.method} has no classifier, so there are no probabilities")
        return self._run(self._classify, self._probabilities, items, batch_size, progress)

    def features(
        self, items: Any, *, batch_size: int | None = None, progress: bool = False
    ) -> np.ndarray:
        """Features, float32 `[n, features]`: the output of the representation that codes and
        classes share; otherwise as `encode`.

        Raises:
          ValueError: the network has no such representation; and as for `encode`.
        """
        return self._run(self._representation, np.asarray, items, batch_size, progress)

    def features_and_probabilities(
        self, items: Any, *, batch_size: int | None = None, progress: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """What `features` and `probabilities` return, by running the network once.

        Raises:
          ValueError: the method has not both of them; and as for `encode`.
        """
        represent, classify = self._network.represent, self._network.classify
        if represent is None or classify is None:
            raise ValueError(f"{self.method} has no classifier beside a representation")

        def both(variables: Mapping[str, Any], inputs: Batch) -> jax.Array:
            parts = represent(variables, inputs), classify(variables, inputs)
            return jnp.concatenate(parts, axis=1)

        # In one program, the compiler finds what the two share.
        self._both = self._both or compile_encode(both, self._devices)
        outputs = self._run(self._both, np.asarray, items, batch_size, progress)
        features, logits = np.split(outputs, [-len(self.class_names)], axis=1)
        return features, self._probabilities(logits)

    def relaxed_of(self, inputs: Batch) -> jax.Array:
        """Relaxed codes of prepared items, to be called in a function that JAX compiles or exports.

        Args:
          inputs: of images `{"image": uint8 [batch, height, width, channels]}`, as
            `signature.inputs` says.

        Returns:
          `[batch, num_bits]`.
        """
        return self._network.encode(self._variables, inputs)

    def represent_dataset(self, dataset: Dataset, ids: np.ndarray) -> np.ndarray:
        """Features `[n, features]` of items of a data set, as `encode_dataset` takes them."""
        return self._of_dataset(self._representation, dataset, ids, np.asarray)

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        return softmax(logits) if self.signature.labels == "single" else sigmoid(logits)

    @property
    def _representation(self) -> Outputs:
        if self._represent is None:
            raise ValueError(f"{self.method} has no representation apart from its codes")
        return self._represent

    def encode_dataset(
        self, dataset: Dataset, ids: np.ndarray, *, finish: Finish
    ) -> np.ndarray:
        """Codes of items of a data set of the same signature, in the order of `ids` `[n]`.

        Args:
          dataset: what the ids are rows of.
          ids: `[n]`.
          finish: relaxed codes `[m, num_bits]` -> what is kept, e.g. `packed_bits`.
        """
        if self._encode_sparse is None:
            return self._of_dataset(self._encode, dataset, ids, finish)
        return np.concatenate([
            finish(self._encode_sparse(self._variables, dataset.features(ids[at : at + BLOCK])))
            for at in range(0, max(len(ids), 1), BLOCK)
        ])  # fmt: skip

    def classify_dataset(
        self, dataset: Dataset, ids: np.ndarray, *, finish: Finish
    ) -> np.ndarray:
        """As `encode_dataset`, of class logits `[m, classes]`."""
        if self._classify is None:
            raise ValueError(f"{self.method} has no classifier")
        return self._of_dataset(self._classify, dataset, ids, finish)

    def save(self, path: str | Path) -> None:
        """Writes the encoder to one portable file, whole or not at all.

        The file is safetensors with the signature in its metadata, and holds nothing that is
        executed; `load_encoder` reads it back. It needs no data set and no workdir.

        Raises:
          UserError: the file cannot be written.
        """
        encoder_files.save(Path(path).expanduser(), self._description, self._variables)

    def _of_dataset(
        self,
        compiled: Outputs,
        dataset: Dataset,
        ids: np.ndarray,
        finish: Finish,
    ) -> np.ndarray:
        return run_dataset(
            compiled, self._stacked, dataset, ids,
            batch_size=self.batch_size, devices=self._devices, finish=finish,
        )  # fmt: skip

    def _of_rows(self, inputs: Mapping[str, np.ndarray], num_real: int) -> np.ndarray:
        """Relaxed codes of rows of words, as `encode_dataset` makes them to the last bit."""
        assert self._encode_sparse is not None
        word, tfidf = (inputs[name][:num_real] for name in ("word", "tfidf"))
        rows = sparse_rows(word, tfidf, self.signature.num_words)
        return self._encode_sparse(self._variables, rows)

    def _run(
        self,
        compiled: Outputs,
        finish: Finish,
        items: Any,
        batch_size: int | None,
        progress: bool,
    ) -> np.ndarray:
        size = self._description.batch_size if batch_size is None else batch_size
        if size < 1:
            raise ValueError(f"batch_size is {size}: it must be 1 or more")
        prepared = prepare_batches(
            items, self.signature.inputs, size, multiple_of=len(self._devices), progress=progress
        )
        failures: list[Failure] = []
        positions: list[np.ndarray] = []

        def batches() -> Iterator[tuple[Mapping[str, np.ndarray], int]]:
            batch: Prepared
            for batch in prepared:
                failures.extend(batch.failures)
                if len(batch.positions):
                    positions.append(batch.positions)
                    yield batch.inputs, len(batch.positions)

        if compiled is self._encode and self._encode_sparse is not None:
            outputs = [finish(self._of_rows(*batch)) for batch in batches()]
        else:
            outputs = run_batches(compiled, self._stacked, batches(), self._devices, finish)
        if failures:
            dim = len(self.class_names) if compiled is self._classify else self.num_bits
            outputs = outputs or [finish(np.zeros((0, dim), np.float32))]
            where = np.concatenate([np.zeros(0, np.int64), *positions])
            raise UnreadableItems(tuple(failures), where, np.concatenate(outputs))
        return np.concatenate(outputs)


def load_encoder(
    path: str | Path, *, checkpoint: str = "best", num_devices: int = 0
) -> Encoder:
    """The encoder of a trained workdir, or of a file that `Encoder.save` wrote.

    Nothing that the workdir or the file names is imported or executed.

    Args:
      path: a workdir that `train.py` has filled, or an encoder file.
      checkpoint: of a workdir: "best" (by validation mAP) or "latest".
      num_devices: how many of the local devices to use; 0 takes all.

    Raises:
      UserError: there is no such workdir or file, or it is damaged, cut off or of another format;
        or there are not as many devices.
      ValueError: `checkpoint` is neither "best" nor "latest".
    """
    if checkpoint not in ("best", "latest"):
        raise ValueError(f"checkpoint is 'best' or 'latest', not {checkpoint!r}")
    path = Path(path).expanduser()
    if path.is_dir():
        from dsh_jax.encoder_workdir import load  # Orbax is slow to import, and files need none

        return load(path, checkpoint, num_devices)[0]
    devices = pick_devices(num_devices, {})
    if not path.is_file():
        raise UserError(
            f"there is no workdir and no encoder file {path}; train first: train.py --workdir DIR."
        )
    return build(path, *encoder_files.load(path), devices)


def build(
    path: Path, description: Description, variables: Mapping[str, Any], devices: Devices
) -> Encoder:
    """The encoder of what was read from a path.

    Raises:
      UserError: the variables are of another network than the description.
    """
    try:
        return Encoder(description, variables, devices)
    except ValueError as error:
        raise UserError(
            f"{path} does not hold an encoder that this version can build ({error}); restore it, "
            "or use the version that wrote it."
        ) from error
