"""Codes that something else has made, in an NPZ file, as what an index is filled from."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dsh_jax import hamming
from dsh_jax.data.reading import open_regular
from dsh_jax.errors import UserError, brief
from dsh_jax.search.items import check_id, check_labels
from dsh_jax.search.sources import Entry, Source, stamp_of


def of_codes(source: Path, num_bits: int | None = None) -> Source:
    """Codes that something else has made.

    The file is an NPZ with `codes`, uint8 `[n, num_bytes]`, packed; and perhaps `ids`, `paths`,
    `texts` and `labels`, `[n]` each (several labels of an item are joined by ";"), `num_bits` and
    `fingerprint`. `codes.npz` of an evaluation is taken too: its database.

    Args:
      source: of the file.
      num_bits: of a code, if the file does not say; None is 8 for every byte.

    Raises:
      UserError: there is no such file, or it has another content.
    """
    source = source.expanduser()
    try:
        with open_regular(source) as file, np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise UserError(
            f"{source} cannot be read as codes ({brief(error)}): name an NPZ file with an array "
            "'codes'."
        ) from error
    try:
        return _of_arrays(source, arrays, num_bits)
    except ValueError as error:
        raise UserError(f"{source}: {brief(error)}; see docs/search.md for its form.") from error


def _of_arrays(source: Path, arrays: Mapping[str, np.ndarray], num_bits: int | None) -> Source:
    prefix = "" if "codes" in arrays else "database_"
    if prefix + "codes" not in arrays:
        raise ValueError("there is no array 'codes'")
    codes = arrays[prefix + "codes"]
    if "num_bits" in arrays:
        num_bits = int(arrays["num_bits"])
    num_bits = 8 * codes.shape[-1] if num_bits is None else num_bits
    codes = hamming.as_packed(codes, num_bits, "codes")
    ids = _strings(arrays.get(prefix + "ids", np.arange(len(codes))), len(codes), "ids")
    columns = {
        name: _strings(arrays[prefix + name], len(codes), name) if prefix + name in arrays else None
        for name in ("paths", "texts")
    }
    labels = _labels(arrays, prefix, len(codes))
    if len({*ids}) < len(ids):
        raise ValueError("ids must be different")
    entries = []
    for row, (name, code) in enumerate(zip(ids, codes, strict=True)):
        path, text = (values[row] if values else "" for values in columns.values())
        stamp = stamp_of(code.tobytes().hex(), labels[row], {"path": path, "text": text})
        entries.append(
            Entry(check_id(name), path, text, check_labels(labels[row]), {}, stamp, code.tobytes())
        )
    if not entries:
        raise ValueError("there are no codes")
    fingerprint = str(arrays["fingerprint"]) if "fingerprint" in arrays else ""
    return Source(str(source), entries, "codes", (), num_bits, fingerprint)


def _strings(values: np.ndarray, n: int, name: str) -> list[str]:
    if values.shape != (n,) or values.dtype.kind not in "Uiu":
        found = f"{values.dtype} {values.shape}"
        raise ValueError(f"{name} must be {n} strings or integers, not {found}")
    return [str(value) for value in values.tolist()]


def _labels(arrays: Mapping[str, np.ndarray], prefix: str, n: int) -> list[tuple[str, ...]]:
    values = arrays.get(prefix + "labels")
    names = arrays.get("class_names")
    if values is None:
        return [()] * n
    if values.ndim == 2 and len(values) == n:  # multi-hot
        columns = [str(c) for c in (range(values.shape[1]) if names is None else names.tolist())]
        return [tuple(columns[c] for c in np.flatnonzero(row)) for row in values]
    strings = _strings(values, n, "labels")
    if names is not None and values.dtype.kind in "iu":
        strings = [str(names[int(value)]) for value in strings]
    return [tuple(part for part in text.split(";") if part) for text in strings]
