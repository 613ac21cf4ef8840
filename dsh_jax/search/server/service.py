"""Answers for one index: from an image, a text, an id or a code to the nearest items.

Nothing here knows HTTP but the status of a refusal. Several threads may ask at once; what they ask
to be encoded goes through the network together.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from dsh_jax import hamming
from dsh_jax.data.images.decoding import try_to_decode
from dsh_jax.data.signature import ImageInputs, WordInputs
from dsh_jax.encoder import Encoder
from dsh_jax.errors import UserError
from dsh_jax.search.index import Index
from dsh_jax.search.items import Hit, Item, UnknownItem
from dsh_jax.search.query_command import code_of_hex
from dsh_jax.search.server.batches import Batches
from dsh_jax.search.server.limits import Refused

Relaxed = Future[np.ndarray]
"""A relaxed code `[num_bits]`, in [0, 1]; of a known code its bits."""
_SIZES = (1, 2, 4, 8)  # of the batches that the network is compiled for


class Service:
    """One index, with the encoder of its codes if there is one.

    Args:
      name: by which requests name it.
      index: open.
      encoder: of its codes; None answers only ids and codes.
      model: names the encoder in errors.
    """

    def __init__(self, name: str, index: Index, encoder: Encoder | None, model: str = "") -> None:
        self.name = name
        self.index = index
        self._encoder = encoder
        self._fingerprint = encoder.fingerprint if encoder else ""  # reads all parameters: once
        self._model = model
        self._batches: Batches[np.ndarray | str, np.ndarray] = Batches(self._relaxed, _SIZES[-1])

    @property
    def kind(self) -> str:
        """What can be asked with, beside ids and codes: "images", "documents" or nothing."""
        return self._encoder.signature.inputs.kind if self._encoder else ""

    def warm(self) -> None:
        """Compiles what queries need, so that no request waits for it."""
        if self._encoder is None:
            return
        inputs = self._encoder.signature.inputs
        if not isinstance(inputs, ImageInputs | WordInputs):
            return  # vectors are asked for by id or code
        blank = np.zeros(inputs.shape, np.uint8) if isinstance(inputs, ImageInputs) else ""
        for size in _SIZES:
            self._relaxed([blank] * size)

    def of_image(self, content: bytes, max_pixels: int) -> Relaxed:
        """Of an image file's content.

        Raises:
          Refused: it is no image, or too large, or the model takes none.
        """
        inputs = self._asked("images").signature.inputs
        assert isinstance(inputs, ImageInputs)
        size, mode = (inputs.width, inputs.height), "L" if inputs.channels == 1 else "RGB"
        found = try_to_decode(
            content, size, mode, max_pixels=max_pixels, interpolation=inputs.interpolation
        )
        if isinstance(found, str):
            status = 413 if found.startswith("it is too large") else 400
            raise Refused(status, f"the image cannot be read: {found}; send another one.")
        return self._batches.submit(np.asarray(found).reshape(inputs.shape))

    def of_text(self, text: str) -> Relaxed:
        """Of a document.

        Raises:
          Refused: the model takes no documents.
        """
        self._asked("documents")
        return self._batches.submit(text)

    def of_id(self, name: str) -> Relaxed:
        """Of an item of the index.

        Raises:
          Refused: there is none.
        """
        return self._of_packed(self.item(name).code)

    def of_code(self, text: str) -> Relaxed:
        """Of a packed code in hexadecimal digits.

        Raises:
          Refused: it is none, or of another length.
        """
        try:
            return self._of_packed(code_of_hex(text, self.index))
        except UserError as error:
            raise Refused(400, str(error)) from error

    def item(self, name: str) -> Item:
        """An item of the index.

        Raises:
          Refused: there is none of this id.
        """
        try:
            return self.index.get([name])[0]
        except UnknownItem as error:
            raise Refused(
                404, f"there is no item {name!r} in {self.name}: take an id of an answer."
            ) from error

    def search(
        self,
        code: np.ndarray,
        *,
        top: int,
        radius: int | None,
        labels: Sequence[str],
        unique: int | None,
    ) -> list[Hit]:
        """The nearest items of a code `[1, num_bytes]`; arguments as of `Index.search`."""
        [hits] = self.index.search(code, top=top, radius=radius, labels=labels, unique=unique)
        return hits

    def facts(self) -> dict[str, Any]:
        """What it is, ready for JSON."""
        return {
            "name": self.name, "items": len(self.index), "num_bits": self.index.num_bits,
            "kind": self.kind, "fingerprint": self.index.manifest.fingerprint,
            "labels": self.index.labels(),
        }  # fmt: skip

    def _asked(self, kind: str) -> Encoder:
        if self._encoder is None:
            raise Refused(400, f"{self.name} is served without a model, so that it takes only ids "
                               "and codes: start the server with --model.")  # fmt: skip
        if self.kind != kind:
            raise Refused(400, f"the model of {self.name} encodes {self.kind}, and this query is "
                               f"of {kind}: ask with one of {self.kind}.")  # fmt: skip
        # Another process may have made the index anew.
        self.index.require(
            num_bits=self._encoder.num_bits, fingerprint=self._fingerprint, model=self._model
        )
        return self._encoder

    def _of_packed(self, code: bytes) -> Relaxed:
        [bits] = hamming.unpack(np.frombuffer(code, np.uint8)[None], self.index.num_bits)
        known: Relaxed = Future()
        known.set_result(bits.astype(np.float32))
        return known

    def _relaxed(self, items: Sequence[np.ndarray | str]) -> np.ndarray:
        assert self._encoder is not None
        return self._encoder.relaxed(np.stack(items) if self.kind == "images" else items)
