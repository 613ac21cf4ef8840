"""What an encoder was trained on, as it says itself: enough to tell whether a split is the same."""

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Origin:
    """The data and the split of a training; the names are those of a result.

    Attributes:
      dataset, dataset_version: of the data.
      protocol: of the split.
      split_checksum: of the split; equal splits have one.
      split_seed: that the split was drawn with.
      seed: of the training.
    """

    dataset: str
    dataset_version: str
    protocol: str
    split_checksum: str
    split_seed: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def from_dict(content: Any) -> Origin:
    """The inverse of `Origin.to_dict`.

    Raises:
      ValueError: the content is no origin.
    """
    types = {field.name: field.type for field in fields(Origin)}
    found = {name: type(value) for name, value in dict(content).items()}
    if found != types:
        raise ValueError(f"an origin has not these fields or types: {sorted(map(str, found))}")
    return Origin(**content)
