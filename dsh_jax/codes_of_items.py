"""The codes of all items of a data set, and the arrays of `codes.npz`.

Every item that is there gets a code: that is what can be found. What is measured are the split's
queries and its database, whose labels are known.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.documents.dataset import WordDataset
from dsh_jax.data.splits.split import ID_FIELDS, Split
from dsh_jax.data.targets import Targets


@dataclass(frozen=True)
class Codes:
    """Packed codes, uint8 `[n, ceil(num_bits / 8)]`.

    Attributes:
      query, database: of what is measured.
      others: of all other items that are there, in the order of their ids.
    """

    query: np.ndarray
    database: np.ndarray
    others: np.ndarray


def encode_all(
    dataset: Dataset, split: Split, encode: Callable[[np.ndarray], np.ndarray]
) -> Codes:
    """Codes of all items.

    Args:
      dataset, split: the items, and which of them are measured.
      encode: ids `[n]`, at least one -> packed codes.
    """
    others = _others(dataset, split)
    query, database = encode(split.query), encode(split.database)
    return Codes(query, database, encode(others) if len(others) else query[:0])


def with_known(dataset: Dataset, split: Split, codes: Codes, known: Targets) -> Codes:
    """The codes of all items, with those of the database and of others replaced where known.

    Args:
      dataset, split, codes: as for `encode_all`, and what it returned.
      known: packed codes of some items, which may be gone.
    """

    def replaced(ids: np.ndarray, rows: np.ndarray) -> np.ndarray:
        is_known = np.isin(ids, known.ids)
        rows = rows.copy()
        rows[is_known] = known.of(ids[is_known])
        return rows

    database = replaced(split.database, codes.database)
    return Codes(codes.query, database, replaced(_others(dataset, split), codes.others))


def as_arrays(
    dataset: Dataset, split: Split, codes: Codes, num_bits: int
) -> dict[str, np.ndarray]:
    """The arrays of `codes.npz`.

    Returns:
      num_bits: of a code.
      codes, ids, labels: of all items, in the order of their ids.
      is_query, is_labeled, is_unlabeled, is_validation, is_database: bool, their roles; an item
        without any is not measured, and training has not seen it.
      query_codes, query_ids, query_labels, and the same of the database: what is measured.
      names, query_names, database_names: where the items have names.
      has_words, query_has_words, database_has_words: of documents, whether training knows a word.
    """
    ids = np.concatenate([split.query, split.database, _others(dataset, split)])
    order = np.argsort(ids)
    parts = {"": ids[order], "query_": split.query, "database_": split.database}
    arrays = {
        "num_bits": np.asarray(num_bits),
        "codes": np.concatenate([codes.query, codes.database, codes.others])[order],
        "query_codes": codes.query,
        "database_codes": codes.database,
    }
    for role in ID_FIELDS:
        arrays[f"is_{role}"] = np.isin(parts[""], getattr(split, role))
    names = np.array(dataset.names)
    for part, of_part in parts.items():
        arrays |= {f"{part}ids": of_part, f"{part}labels": dataset.labels[of_part]}
        if dataset.names:
            arrays[f"{part}names"] = names[of_part]
        if isinstance(dataset, WordDataset):
            arrays[f"{part}has_words"] = dataset.has_words[of_part]
    return arrays


def _others(dataset: Dataset, split: Split) -> np.ndarray:
    """Ids of the items that are neither queries nor in the database."""
    return np.setdiff1d(dataset.present, np.union1d(split.query, split.database))
