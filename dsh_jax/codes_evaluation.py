"""Evaluates codes that any program has saved, with their labels, as NumPy files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from dsh_jax import hamming
from dsh_jax.errors import UserError, as_user_error, brief
from dsh_jax.retrieval.conventions import Conventions
from dsh_jax.retrieval.health import code_health, problems
from dsh_jax.retrieval.metrics import evaluate

NAMES = ("query_codes", "database_codes", "query_labels", "database_labels")
"""The arrays of a .npz file, and the order of four .npy files."""


def evaluate_codes(
    paths: Sequence[Path],
    *,
    num_bits: int | None = None,
    conventions: str | Conventions = "expected",
) -> dict[str, Any]:
    """Reads codes and labels, checks them, and computes all metrics.

    Args:
      paths: one .npz file with the arrays `NAMES` (others are ignored), or four .npy files in this
        order. Codes are `[n, num_bits]` of {0, 1} or {-1, 1}, or packed uint8
        `[n, ceil(num_bits / 8)]`, first bit highest; labels are class ids `[n]` or multi-hot
        `[n, classes]`.
      num_bits: of packed codes; None for that of the file, or all bits of the bytes.
      conventions: as for `retrieval.evaluate`.

    Returns:
      What `retrieval.evaluate` returns, with `files`, `codes` ("bits" or "packed"), `labels`
      ("class ids" or "multi-hot") and `warnings`.

    Raises:
      UserError: a file is missing or damaged, lacks an array, or an array has another form.
    """
    arrays = _read(paths)
    if num_bits is None and "num_bits" in arrays:
        num_bits = _integer(arrays["num_bits"], f"num_bits in {paths[0]}")
    codes = {role: arrays[f"{role}_codes"] for role in ("query", "database")}
    for role, array in codes.items():
        _check_form(array, f"{role}_codes")
    is_packed = _are_packed(codes, num_bits)
    if num_bits is None:
        num_bits = codes["query"].shape[1] * (8 if is_packed else 1)
    packed = {role: _packed(x, f"{role}_codes", num_bits, is_packed) for role, x in codes.items()}
    labels = {role: _labels(arrays[f"{role}_labels"], f"{role}_labels", len(codes[role]))
              for role in codes}  # fmt: skip
    _check_same_form(labels)
    with as_user_error():  # conventions that leave out every query
        metrics = evaluate(
            packed["query"], labels["query"], packed["database"], labels["database"],
            num_bits=num_bits, conventions=conventions,
        )  # fmt: skip
    healths = {
        "query codes": code_health(packed["query"], num_bits=num_bits),
        "database codes": metrics["code_health"],
    }
    return {
        "files": [str(path) for path in paths],
        "codes": "packed" if is_packed else "bits",
        "labels": "class ids" if labels["query"].ndim == 1 else "multi-hot",
        **metrics,
        "warnings": [text for name, health in healths.items() for text in problems(health, name)],
    }


def _read(paths: Sequence[Path]) -> dict[str, np.ndarray]:
    endings = [path.suffix for path in paths]
    if endings == [".npz"]:
        return _load_npz(paths[0])
    if endings == [".npy"] * 4:
        return {name: _load(path) for name, path in zip(NAMES, paths, strict=True)}
    order = ", ".join(NAMES)
    raise UserError(
        f"--codes takes one .npz file with the arrays {order}, or four .npy files in this order, "
        f"not {', '.join(path.name for path in paths)}: give either of the two."
    )


def _load_npz(path: Path) -> dict[str, np.ndarray]:
    file = _load(path)
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise UserError(f"{path} holds a single array: save all four with np.savez.")
    with file:
        missing = [name for name in NAMES if name not in file.files]
        if missing:
            raise UserError(
                f"{path} has no array {missing[0]}, only {', '.join(file.files) or 'none'}: save "
                f"it with np.savez({path.name!r}, {', '.join(f'{name}=...' for name in NAMES)})."
            )
        wanted = [name for name in (*NAMES, "num_bits") if name in file.files]
        return {name: _guarded(path, lambda name=name: file[name]) for name in wanted}


def _load(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"there is no file {path}: name one that np.save or np.savez wrote.")
    return _guarded(path, lambda: np.load(path, allow_pickle=False))


def _guarded(path: Path, read: Any) -> Any:
    try:
        return read()
    except (ValueError, EOFError, BadZipFile, OSError) as error:
        if "allow_pickle" in str(error):
            raise UserError(
                f"{path} holds Python objects, or is no NumPy file: save plain arrays of numbers "
                "with np.save or np.savez."
            ) from error
        raise UserError(f"{path} cannot be read ({brief(error)}): save it again.") from error


def _integer(array: np.ndarray, name: str) -> int:
    if array.shape != () or array.dtype.kind not in "iu" or array < 1:
        raise UserError(f"{name} is {array!r}: set it to a whole number of 1 or more.")
    return int(array)


def _check_form(codes: np.ndarray, name: str) -> None:
    if codes.ndim != 2 or not codes.size:
        raise UserError(
            f"{name} has the shape {codes.shape}: codes are a table [items, bits], or packed "
            "[items, bytes]; see that the arrays are in the right order."
        )
    if codes.dtype.kind not in "buif":
        raise UserError(f"{name} is of the type {codes.dtype}: save codes as numbers.")


def _are_packed(codes: Mapping[str, np.ndarray], num_bits: int | None) -> bool:
    """Whether eight bits are in a byte; refuses codes of two widths, or not of `num_bits`."""
    widths = {array.shape[1] for array in codes.values()}
    if len(widths) > 1:
        shapes = " and ".join(str(array.shape) for array in codes.values())
        raise UserError(
            f"query_codes and database_codes have the shapes {shapes}: give codes of one length as "
            "[items, bits], or packed [items, bytes]."
        )
    (width,) = widths
    are_bytes = all(array.dtype == np.uint8 for array in codes.values())
    if num_bits is None:
        largest = max(int(array.max()) for array in codes.values()) if are_bytes else 0
        return largest > 1
    if width == num_bits and not (are_bytes and num_bits == 1):
        return False
    if are_bytes and width == -(-num_bits // 8):
        return True
    raise UserError(
        f"the codes have {width} columns of {codes['query'].dtype}: for {num_bits} bits they have "
        f"{num_bits} columns, or {-(-num_bits // 8)} of uint8 if packed; correct num_bits."
    )


def _packed(codes: np.ndarray, name: str, num_bits: int, is_packed: bool) -> np.ndarray:
    """The codes, eight bits per byte."""
    if is_packed:
        if codes.shape[1] >= 8 and np.isin(codes, (1, 255)).all():
            raise UserError(
                f"{name} holds only 1 and 255, which is what -1 becomes as uint8: save the codes "
                "as int8, or as 0 and 1."
            )
        with as_user_error():
            return hamming.as_packed(codes, num_bits, name)
    ones = codes == 1
    if np.all(ones | (codes == 0)) or np.all(ones | (codes == -1)):
        return np.packbits(ones, axis=1)
    odd = codes[~(ones | (codes == 0) | (codes == -1))]
    found = f"a value of {odd[0]:g}" if odd.size else "-1, 0 and 1"
    raise UserError(
        f"{name} holds {found}: codes are only 0 and 1, or only -1 and 1, or packed uint8; "
        "binarize them first, as in (codes > 0)."
    )


def _labels(labels: np.ndarray, name: str, count: int) -> np.ndarray:
    """Class ids `[n]` as integers, or multi-hot labels `[n, classes]`."""
    if labels.ndim not in (1, 2) or labels.shape[1:] == (1,):
        raise UserError(
            f"{name} has the shape {labels.shape}: labels are class ids [items], or 0 and 1 in a "
            "table [items, classes]; reshape class ids with labels.reshape(-1)."
        )
    if len(labels) != count:
        turned = labels.shape[-1:] == (count,)
        raise UserError(
            f"{name} has {len(labels)} rows, but there are {count} codes: give a label to each code"
            f"{', transposed' * turned}, or see that the arrays are in the right order."
        )
    if labels.dtype.kind not in "buif":
        raise UserError(f"{name} is of the type {labels.dtype}: save class ids as numbers.")
    if labels.ndim == 2:
        if not np.isin(labels, (0, 1)).all():
            raise UserError(
                f"{name} {labels.shape} holds other numbers than 0 and 1: a table [items, classes] "
                "has a 1 for each class of an item; class ids are [items]."
            )
        return labels.astype(np.uint8)
    odd = labels[~(np.isfinite(labels) & (labels == np.floor(labels)))]
    if odd.size:
        raise UserError(f"{name} holds a value of {odd[0]:g}: class ids are whole numbers.")
    return labels.astype(np.int64)


def _check_same_form(labels: Mapping[str, np.ndarray]) -> None:
    if labels["query"].shape[1:] != labels["database"].shape[1:]:
        shapes = " and ".join(str(array.shape) for array in labels.values())
        raise UserError(
            f"query_labels and database_labels have the shapes {shapes}: give both as class ids "
            "[items], or both as [items, classes] with the same classes."
        )
