"""Splits drawn by shares, for documents: many tags are too rare for fixed numbers per tag."""

import numpy as np

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.splits.split import Split
from dsh_jax.errors import UserError
from dsh_jax.rng import stream_rng


def draw_shares(
    dataset: Dataset, *, seed: int, query_share: float, validation_share: float
) -> Split:
    """Draws a split at random, so that each part has the classes in their natural frequency.

    An item without labels cannot be judged: it is not a query and not in the database, but training
    may see it, as `unlabeled`. The database is all train items with labels except the queries; the
    labeled items are the database except the validation items.

    Args:
      dataset: the items to divide.
      seed: 0 or more.
      query_share: of the items with labels, in (0, 1); 0 takes the official test items as queries,
        and all others as train items.
      validation_share: of the database, in (0, 1); these items are held back from training.

    Raises:
      UserError: a share is out of range, or a part would be empty.
    """
    for name, share in (("query_share", query_share), ("validation_share", validation_share)):
        if not 0 <= share < 1:
            raise UserError(f"data.{name} is {share}: set it from 0 to below 1.")
    if seed < 0:
        raise UserError(f"data.split_seed is {seed}: set it to 0 or more.")
    every = np.arange(len(dataset))
    has_label = dataset.labels.any(axis=1) if dataset.multi_label else dataset.labels >= 0
    labeled = every[has_label]
    if query_share:
        shuffled = stream_rng(seed, "split/query", 0).permutation(labeled)
        query = shuffled[: round(query_share * len(labeled))]
        train = every
    else:
        if not dataset.is_test.any():
            raise UserError(
                f"data.query_share is 0 (the official test items), but {dataset.name} has no "
                "official test items: set it above 0."
            )
        query, train = labeled[dataset.is_test[labeled]], every[~dataset.is_test]
    database = np.setdiff1d(np.intersect1d(labeled, train), query)
    shuffled = stream_rng(seed, "split/labeled", 0).permutation(database)
    held = round(validation_share * len(database))
    parts = {"queries": len(query), "validation items": held, "labeled items": len(database) - held}
    for part, size in parts.items():
        if size < (2 if part == "validation items" else 1):
            raise UserError(
                f"{dataset.name} has {len(labeled)} labeled items, which leaves {size} {part} with "
                f"data.query_share={query_share} and data.validation_share={validation_share}: "
                "change the shares, or give more labeled items."
            )
    return Split(
        protocol=f"{len(query)}/{len(database)}/{len(database)}",
        dataset=dataset.name,
        version=dataset.version,
        seed=int(seed),
        query=query,
        labeled=shuffled[held:],
        unlabeled=np.setdiff1d(train, labeled),
        validation=shuffled[:held],
        database=database,
    )
