"""`search.py query`: makes one code of what is asked, and prints or draws the nearest items."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dsh_jax.errors import UserError
from dsh_jax.search import models

if TYPE_CHECKING:
    import numpy as np

    from dsh_jax.encoder import Encoder
    from dsh_jax.search.index import Index
    from dsh_jax.search.items import Hit, Item


KINDS = {"image": "images", "text": "documents", "vector": "vectors"}
"""What a query is asked with -> what its encoder takes."""


def query(options: argparse.Namespace) -> int:
    """Finds the nearest items."""
    from dsh_jax.search.index import open_index

    if not getattr(options, "terms", None):
        raise UserError(
            "nothing is asked for: name an --image, a --text, a --vector, a --code or an --id."
        )
    if options.radius is not None and options.max_distance is not None:
        raise UserError("--radius and --max-distance exclude each other: leave one out.")
    top = options.top or (None if options.radius is not None else 10)
    radius = options.max_distance if options.radius is None else options.radius
    with open_index(options.index) as opened:
        code, asked = _code(options, opened)
        [hits] = opened.search(
            code, top=top, radius=radius, labels=options.label or (), unique=options.unique,
            exact=options.exact,
        )  # fmt: skip
        if options.top and options.top > len(opened):
            print(f"the index has {len(opened):,} items in all", file=sys.stderr)
    if options.show:
        from dsh_jax.search.pictures import show

        found = [(hit.item.path, f"{hit.distance} bits\n{hit.item.id}") for hit in hits]
        if not any(path for path, _ in found):
            raise UserError("--show needs images, and what was found has none: leave it out.")
        show(options.show.expanduser(), asked, found)
    _print(options, hits)
    return 0


def _code(options: argparse.Namespace, opened: Index) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """The code that is asked for, and the images that it is made of, with captions."""
    import numpy as np

    from dsh_jax import hamming
    from dsh_jax.search.combining import combine

    encoder: Encoder | None = None
    relaxed, weights, shown = [], [], []
    for kind, value, weight in options.terms:
        path = ""
        if kind in KINDS:
            encoder = encoder or _encoder_of(options, opened)
            relaxed.append(_relaxed(encoder, kind, value))
            path = value if kind == "image" else ""
        else:
            packed = code_of_hex(value, opened) if kind == "code" else b""
            if kind == "id":
                item: Item = opened.get([value])[0]
                packed, path = item.code, item.path
            bits = hamming.unpack(np.frombuffer(packed, np.uint8)[None], opened.num_bits)
            relaxed.append(bits[0].astype(np.float32))
        weights.append(weight)
        if path:
            shown.append((path, "query" if weight == 1 else f"query, times {weight:g}"))
    return combine(relaxed, weights), shown


def _relaxed(encoder: Encoder, kind: str, value: str) -> np.ndarray:
    from dsh_jax.search.building import code_of

    return code_of(encoder, KINDS[kind], value)


def _encoder_of(options: argparse.Namespace, opened: Index) -> Encoder:
    model = options.model or opened.manifest.model
    if not model:
        raise UserError(f"{options.index} does not say which model its codes are of: add --model.")
    encoder = models.load(model)
    opened.require(num_bits=encoder.num_bits, fingerprint=encoder.fingerprint, model=model)
    return encoder


def code_of_hex(text: str, opened: Index) -> bytes:
    """The packed code that is written in hexadecimal digits.

    Raises:
      UserError: it is none, or not as long as those of the index.
    """
    with contextlib.suppress(ValueError):
        code = bytes.fromhex(text)
        padding = 8 * len(code) - opened.num_bits
        if len(code) == opened.manifest.num_bytes and not code[-1] & ((1 << padding) - 1):
            return code
    raise UserError(
        f"{text!r} is not a code of {opened.num_bits} bits: give {2 * opened.manifest.num_bytes} "
        "hexadecimal digits, with zeros for padding."
    )


def _print(options: argparse.Namespace, hits: Sequence[Hit]) -> None:
    for hit in hits:
        item = hit.item
        if options.json:
            print(json.dumps(hit.to_dict()))
        elif options.paths:
            print(item.path or item.id)
        else:
            print(f"{hit.distance:3}  {item.id}  {','.join(item.labels) or '-'}  "
                  f"{item.path or item.text}".rstrip())  # fmt: skip
