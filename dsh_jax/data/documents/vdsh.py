"""The benchmark of text hashing: MATLAB files of tf-idf rows, divided once and for all.

Chaidaroon & Fang, "Variational Deep Semantic Hashing for Text Documents" (SIGIR 2017), published
`ng20.tfidf.mat`, `reuters.tfidf.mat` and `tmc.tfidf.mat`, and most later work measures on them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy  # loads scipy.io and scipy.sparse when they are first used

from dsh_jax.data.documents.dataset import WordDataset
from dsh_jax.data.documents.weights import WeightInputs, presence, unit_rows
from dsh_jax.data.labels import MOST_ENTRIES
from dsh_jax.data.reading import read_bytes
from dsh_jax.data.splits.split import Split
from dsh_jax.errors import UserError, brief

SOURCE = "vdsh"
PARTS = ("train", "cv", "test")
_ENDING = ".tfidf.mat"
_FIX = (
    "set data.data_dir to a file with the keys train, cv and test (tf-idf rows) and gnd_train, "
    "gnd_cv and gnd_test (labels), such as ng20.tfidf.mat of "
    "https://github.com/unsuthee/VariationalDeepSemanticHashing"
)


@dataclass(frozen=True, eq=False, kw_only=True)
class VdshDataset(WordDataset):
    """Rows of weights and the part that each is in.

    Attributes:
      parts: of each row, an index of `PARTS`, int8 `[n]`.
    """

    parts: np.ndarray

    @property
    def inputs(self) -> WeightInputs:
        """How a row becomes a network's input."""
        return WeightInputs(self.counts.shape[1])


def load_vdsh(path: Path) -> VdshDataset:
    """Reads a file of the benchmark.

    Rows are divided by their lengths, and a word that is there counts once, as the file has no
    counts. Where no row has two labels, labels are class ids; else they are multi-hot.

    Args:
      path: of the file, or of a folder with one file that ends in .tfidf.mat.

    Raises:
      UserError: it is missing, damaged, lacks a key, or its parts do not fit together.
    """
    path = path.expanduser()
    if path.is_dir():
        found = sorted(path.glob(f"*{_ENDING}"))
        if len(found) != 1:
            raise UserError(f"{path} holds {len(found)} files that end in {_ENDING}: {_FIX}.")
        path = found[0]
    try:
        version = hashlib.sha256(read_bytes(path)).hexdigest()[:12]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}): {_FIX}.") from error
    content = _content(path)
    weights = {part: _weights(path, part, content[part]) for part in PARTS}
    labels = {part: _labels(path, part, content[f"gnd_{part}"], weights[part]) for part in PARTS}
    for each, what in ((weights, "words"), (labels, "labels")):
        for part in PARTS[1:]:
            if each[part].shape[1:] != each["train"].shape[1:]:
                raise UserError(
                    f"{path} has train rows of {_width(each['train'])} {what}, but {part} rows of "
                    f"{_width(each[part])}: {_FIX}."
                )
    of_rows, names = _as_classes(np.concatenate([labels[part] for part in PARTS]))
    joined = scipy.sparse.csr_array(scipy.sparse.vstack([weights[part] for part in PARTS]))
    sizes = [weights[part].shape[0] for part in PARTS]
    parts = np.repeat(np.arange(len(PARTS), dtype=np.int8), sizes)
    rows = [f"{part}/{row}" for part, size in zip(PARTS, sizes, strict=True) for row in range(size)]
    tfidf = unit_rows(joined)
    return VdshDataset(
        name=path.name.removesuffix(".mat"), version=version, names=tuple(rows), labels=of_rows,
        is_test=parts == PARTS.index("test"), class_names=names, parts=parts, tfidf=tfidf,
        counts=presence(tfidf),
    )  # fmt: skip


def split_of(dataset: VdshDataset) -> Split:
    """The benchmark's own split, the protocol "vdsh": test rows ask, and train rows are found.

    Train rows are labeled and the database; cv rows choose the checkpoint. As in the published
    code, train rows without a word are left out. Rows without a label cannot be judged: in train
    they are unlabeled, and elsewhere left out.

    Raises:
      UserError: a part has too few rows with labels.
    """
    labels = dataset.labels
    has_label = np.asarray(labels.any(axis=1) if dataset.multi_label else labels >= 0)
    train, cv, test = (
        np.flatnonzero((dataset.parts == number) & (dataset.has_words | (part != "train")))
        for number, part in enumerate(PARTS)
    )
    kept = {"train": train, "cv": cv, "test": test}
    kept = {part: ids[has_label[ids]] for part, ids in kept.items()}
    for part, ids in kept.items():
        if len(ids) < 2:
            raise UserError(
                f"{dataset.name} has {len(ids)} {part} rows with words and labels, and two or more "
                f"are needed: {_FIX}."
            )
    query, labeled = kept["test"], kept["train"]
    return Split(
        protocol=f"{SOURCE}, {len(query)}/{len(labeled)}/{len(labeled)}",
        dataset=dataset.name,
        version=dataset.version,
        seed=0,  # nothing is drawn
        query=query,
        labeled=labeled,
        unlabeled=np.setdiff1d(train, labeled),
        validation=kept["cv"],
        database=labeled,
    )


def _content(path: Path) -> dict[str, Any]:
    import scipy.io

    keys = [*PARTS, *(f"gnd_{part}" for part in PARTS)]
    try:
        content = scipy.io.loadmat(path, variable_names=keys, appendmat=False)
        for found in filter(scipy.sparse.issparse, content.values()):
            found.check_format(full_check=True)  # places beyond the matrix would end the process
    except NotImplementedError as error:  # MATLAB's version 7.3
        raise UserError(
            f"{path} is of MATLAB's version 7.3, which SciPy does not read: save it again with "
            "save(FILE, '-v7')."
        ) from error
    except Exception as error:  # of a damaged file, nearly any kind
        raise UserError(
            f"{path} cannot be read as a MATLAB file ({brief(error)}): {_FIX}."
        ) from error
    for key in keys:
        if key not in content:
            raise UserError(f"{path} has no key {key!r}: {_FIX}.")
    return content


def _weights(path: Path, part: str, found: Any) -> scipy.sparse.csr_array:
    """The rows of a part, float32 CSR `[n, words]`, without stored zeros."""
    shape, kind = found.shape, found.dtype.kind
    if len(shape) != 2 or 0 in shape or kind not in "biuf":
        raise UserError(
            f"{path} has {part} of shape {shape} and type {found.dtype}, not rows of numbers: "
            f"{_FIX}."
        )
    weights = scipy.sparse.csr_array(found, dtype=np.float32)
    weights.sum_duplicates()
    for wrong, what in (
        (~np.isfinite(weights.data), "NaN or infinity"), (weights.data < 0, "a negative weight"),
    ):  # fmt: skip
        if wrong.any():
            row = int(np.searchsorted(weights.indptr, int(wrong.argmax()), side="right")) - 1
            raise UserError(f"{path} has {what} in row {row} of {part}: {_FIX}.")
    weights.eliminate_zeros()
    return weights


def _labels(path: Path, part: str, found: Any, weights: scipy.sparse.csr_array) -> np.ndarray:
    """The labels of a part: {0, 1} `[n, labels]`, or ids `[n]` where there is one number a row."""
    count = weights.shape[0]
    if np.prod(found.shape, dtype=float) > MOST_ENTRIES:
        raise UserError(
            f"{path} has gnd_{part} of shape {found.shape}, more than {MOST_ENTRIES:,} labels: "
            "keep the most frequent ones."
        )
    dense = found.toarray() if scipy.sparse.issparse(found) else np.asarray(found)
    if dense.ndim == 2 and 1 in dense.shape and dense.size == count:
        dense = dense.ravel()
    if len(dense) != count or dense.ndim > 2 or 0 in dense.shape:
        raise UserError(
            f"{path} has {count:,} rows of {part}, but gnd_{part} is of shape {found.shape}: "
            f"{_FIX}."
        )
    whole = dense.dtype.kind in "biu" or (dense.dtype.kind == "f" and (dense % 1 == 0).all())
    fits = whole and (np.isin(dense, (0, 1)).all() if dense.ndim == 2 else (dense >= 0).all())
    if not fits:
        raise UserError(
            f"{path} has gnd_{part} with other values than 0 and 1, or class numbers: {_FIX}."
        )
    return dense.astype(np.uint8 if dense.ndim == 2 else np.int64)


def _as_classes(labels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class ids `[n]` if no row has two labels, else multi-hot; and the names of the classes.

    A class is called by its column, or by its number in the file.
    """
    if labels.ndim == 1:
        numbers, ids = np.unique(labels, return_inverse=True)
        return ids.astype(np.int32), tuple(map(str, numbers.tolist()))
    names = tuple(map(str, range(labels.shape[1])))
    if (labels.sum(axis=1) > 1).any():
        return labels, names
    return np.where(labels.any(axis=1), labels.argmax(axis=1), -1).astype(np.int32), names


def _width(array: Any) -> str:
    return f"{array.shape[1]:,}" if array.ndim == 2 else "one number as"
