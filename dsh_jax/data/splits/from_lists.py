"""The split that lists of images define, such as those published for NUS-WIDE."""

from collections.abc import Mapping

import numpy as np

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.splits import shares
from dsh_jax.data.splits.split import Split
from dsh_jax.errors import UserError
from dsh_jax.rng import stream_rng


def split_by_roles(
    dataset: Dataset, roles: Mapping[str, np.ndarray], *, seed: int, validation_per_class: int
) -> Split:
    """The split that the roles define, with validation items drawn from its database.

    Args:
      dataset: the items.
      roles: "query", "labeled" and "database", bool `[n]` each; labeled items may be in the
        database.
      seed: of the validation items.
      validation_per_class: this times the number of classes is drawn from the database items that
        are not labeled, or from the labeled items if there are no others; -1 draws a tenth.

    Raises:
      UserError: a role has no item, a query has another role too, or there are too few items.
    """
    for role, members in roles.items():
        if not members.any():
            raise UserError(f"The lists of {dataset.name} name no {role} image that exists.")
    query, labeled, database = (np.flatnonzero(roles[r]) for r in ("query", "labeled", "database"))
    shared = np.intersect1d(query, np.union1d(labeled, database))
    if len(shared):
        raise UserError(
            f"{len(shared)} queries of {dataset.name} are also labeled or in the database, "
            "where each would find itself: remove them from the other lists."
        )
    unlabeled = np.setdiff1d(database, labeled)
    pool = unlabeled if len(unlabeled) else labeled
    classes = len(dataset.class_names)
    wanted = validation_per_class * classes
    if validation_per_class == shares.AUTOMATIC:
        wanted = min(round(shares.SHARE * len(pool)), shares.MOST * classes)
    if wanted > len(pool) // 2:
        most = len(pool) // 2 // classes
        raise UserError(
            f"data.validation_per_class is {validation_per_class}, {wanted} images in all, but "
            f"at most half of {len(pool)} can be held back: set it to {most} or less."
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
