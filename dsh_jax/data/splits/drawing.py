"""Draws the split that the fields `data` of a config describe."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from ml_collections import ConfigDict

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.documents.vdsh import VdshDataset, split_of
from dsh_jax.data.images.dataset import ImageFiles
from dsh_jax.data.splits import by_class, unseen
from dsh_jax.data.splits.by_share import draw_shares
from dsh_jax.data.splits.from_lists import split_by_roles
from dsh_jax.data.splits.remarks import split_remarks
from dsh_jax.data.splits.shares import AUTOMATIC
from dsh_jax.data.splits.split import Split
from dsh_jax.data.splits.split import load_for as load_split_for
from dsh_jax.errors import UserError
from dsh_jax.fields import Choice, Integer, Number, Rules, Text

SHARES: Rules = {
    "data.query_share": Number(least=0, below=1),
    "data.validation_share": Number(least=0, below=1),
}
COUNTS: Rules = {
    "data.protocol": Text(),
    "data.queries_per_class": Integer(AUTOMATIC, 10**9),
    "data.labeled_per_class": Integer(0, 10**9),
    "data.database": Choice(("rest", "unlabeled")),
    "data.validation_per_class": Integer(AUTOMATIC, 10**9),
    "data.validation_from": Choice(("unlabeled", "labeled")),
}


def draw_split(data: ConfigDict, dataset: Dataset) -> Split:
    """The split that a config describes: by a file, a named protocol, or counts.

    Raises:
      UserError: there is no such file or protocol, or the data has too few items or classes for it.
    """
    split = _draw_split(data, dataset)
    return split if data.split_file else replace(split, dataset=dataset.collection)


def _draw_split(data: ConfigDict, dataset: Dataset) -> Split:
    if data.split_file:
        split = load_split_for(dataset, data.split_file)
        check_unseen(data, split)
        return split
    if data.get("unseen_classes", 0):
        return _draw_unseen(data, dataset)
    if isinstance(dataset, VdshDataset):
        return split_of(dataset)
    if _has_its_split(dataset):
        assert isinstance(dataset, ImageFiles)
        return split_by_roles(
            dataset, dataset.roles, seed=data.split_seed,
            validation_per_class=data.validation_per_class,
        )
    if "query_share" in data:
        return draw_shares(
            dataset, seed=data.split_seed, query_share=data.query_share,
            validation_share=data.validation_share,
        )
    counts = (data.queries_per_class, data.labeled_per_class, data.database)
    if data.protocol:
        if data.protocol not in by_class.PROTOCOLS:
            raise UserError(
                f"data.protocol is {data.protocol!r}; set it to one of "
                f"{', '.join(by_class.PROTOCOLS)}, or leave it empty and set data.queries_per_class"
                " and the other counts."
            )
        counts = by_class.PROTOCOLS[data.protocol]
    split = by_class.draw(
        dataset,
        seed=data.split_seed,
        queries_per_class=counts[0],
        labeled_per_class=counts[1],
        database=counts[2],
        validation_per_class=data.validation_per_class,
        validation_from=data.validation_from,
        validation=_roles_of(dataset).get("validation"),
    )
    if data.protocol and split.protocol != data.protocol:
        raise UserError(
            f"data.protocol {data.protocol} does not fit {dataset.name}, which gives "
            f"{split.protocol}; choose the protocol of this data set, or leave it empty."
        )
    return split


def remarks(data: ConfigDict, dataset: Dataset, split: Split) -> list[str]:
    """What the user should know of a split before training, a line each."""
    asked = [data.get(field, 0) for field in ("queries_per_class", "validation_per_class")]
    if AUTOMATIC not in asked or data.split_file or _has_its_split(dataset):
        return []
    return split_remarks(
        dataset, split, queries_per_class=asked[0], validation_per_class=asked[1],
        given="validation" in _roles_of(dataset) and not split.unseen,
    )  # fmt: skip


def _roles_of(dataset: Dataset) -> Mapping[str, np.ndarray]:
    return dataset.roles if isinstance(dataset, ImageFiles) else {}


def _has_its_split(dataset: Dataset) -> bool:
    """Whether the data's lists say which images are queries, labeled and in the database."""
    return "query" in _roles_of(dataset) or isinstance(dataset, VdshDataset)


def check_unseen(data: ConfigDict, split: Split) -> None:
    """Refuses another number of unseen classes than that of `data.split_file`."""
    num_unseen = data.get("unseen_classes", 0)
    if num_unseen not in (0, len(split.unseen)):
        raise UserError(
            f"data.unseen_classes is {num_unseen}, but {data.split_file} has "
            f"{len(split.unseen)}; set it to 0, to take what the file has."
        )


def _draw_unseen(data: ConfigDict, dataset: Dataset) -> Split:
    """A split with classes that training never sees."""
    if _has_its_split(dataset) or "query_share" in data:
        raise UserError(
            f"data.unseen_classes is {data.unseen_classes}, but the split of {dataset.name} is not "
            "drawn by class; set it to 0."
        )
    if data.protocol:
        raise UserError(
            f"data.protocol is {data.protocol!r}, where all classes are seen, but "
            f"data.unseen_classes is {data.unseen_classes}; leave data.protocol empty and set "
            "data.queries_per_class and the other counts."
        )
    return unseen.draw(
        dataset,
        seed=data.split_seed,
        unseen_classes=data.unseen_classes,
        queries_per_class=data.queries_per_class,
        labeled_per_class=data.labeled_per_class,
        validation_per_class=data.validation_per_class,
        validation_from=data.validation_from,
    )
