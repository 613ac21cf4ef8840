"""Loads vectors that the fields `data` of a config describe."""

from pathlib import Path

from ml_collections import ConfigDict

from dsh_jax.data.classes import usable_classes
from dsh_jax.data.splits.shares import AUTOMATIC
from dsh_jax.data.vectors.dataset import COLUMNS, VectorDataset, load_vectors
from dsh_jax.data.vectors.inputs import NORMALISATIONS
from dsh_jax.errors import UserError
from dsh_jax.fields import Choice, Number, Rules, Text

FEATURES = "features"
OF_FEATURES: Rules = {
    "data.root": Text(),
    **{f"data.{column}": Text() for column in COLUMNS},
    "data.name": Text(),
    "data.normalise": Choice(NORMALISATIONS),
    "data.cache_dir": Text(),
    "data.memory_limit_gb": Number(least=0),
}


def load_features(data: ConfigDict) -> VectorDataset:
    """The vectors at `data.root`.

    Raises:
      UserError: they are missing or damaged, or none has a label.
    """
    if not data.root:
        raise UserError(
            "data.root is empty; set it to a .npy, .npz or Parquet file of vectors, or to a folder "
            "of .npy and .txt files."
        )
    vectors = load_vectors(
        Path(data.root),
        {column: data[column] for column in COLUMNS},
        normalise=data.normalise,
        cache=Path(data.cache_dir),
        memory_limit_gb=data.memory_limit_gb,
        collection=data.name or FEATURES,
    )
    return usable_classes(vectors, tests_are_queries=data.queries_per_class in (0, AUTOMATIC))
