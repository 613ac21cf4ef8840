"""The split that lists of images bring with them, as the field shares them for NUS-WIDE."""

from collections.abc import Mapping

import numpy as np

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.splits.split import Split
from dsh_jax.errors import UserError
from dsh_jax.rng import stream_rng


def split_by_roles(
    dataset: Dataset, roles: Mapping[str, np.ndarray], *, seed: int, validation_per_class: int
) -> Split:
    """The split that the roles describe, and validation items drawn from its database.

    Args:
      dataset: the items.
      roles: bool `[n]` each: "query", "labeled" and "database", which may hold labeled items.
      seed: of the validation items.
      validation_per_class: as many times the number of classes are drawn among the items of the
        database that are not labeled, or among the labeled ones where there are no others.

    Raises:
      UserError: a role without an item, a query that is also of another role, or too few items.
    """
    for role, members in roles.items():
        if not members.any():
            raise UserError(f"the lists of {dataset.name} name no {role} image that is there.")
    query, labeled, database = (np.flatnonzero(roles[r]) for r in ("query", "labeled", "database"))
    shared = np.intersect1d(query, np.union1d(labeled, database))
    if len(shared):
        raise UserError(
            f"{len(shared)} queries of {dataset.name} are also labeled or in the database; "
            "an image must be found by others: take them out of the other lists."
        )
    unlabeled = np.setdiff1d(database, labeled)
    pool = unlabeled if len(unlabeled) else labeled
    wanted = validation_per_class * len(dataset.class_names)
    if wanted > len(pool) // 2:
        most = len(pool) // 2 // len(dataset.class_names)
        raise UserError(
            f"data.validation_per_class is {validation_per_class}, {wanted} images in all, and "
            f"{len(pool)} could be held back; set it to {most} or less."
        )
    held = stream_rng(seed, "split/validation", 0).permutation(pool)[:wanted]
    return Split(
        protocol=f"{len(query)}/{len(labeled)}/{len(database)}",
        dataset=dataset.name,
        version=dataset.version,
        seed=int(seed),
        query=query,
        labeled=np.setdiff1d(labeled, held),
        unlabeled=np.setdiff1d(unlabeled, held),
        validation=held,
        database=database,
    )
