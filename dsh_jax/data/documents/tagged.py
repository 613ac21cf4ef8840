"""Tagged documents in memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsh_jax.data.dataset import Dataset


@dataclass(frozen=True, eq=False, kw_only=True)
class Documents(Dataset):
    """Tagged documents in memory, each with a name."""

    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.texts) != len(self):
            raise ValueError(f"{len(self.texts)} texts of {len(self)} items")

    def _arranged(self, rows: np.ndarray) -> dict[str, Any]:
        return {"texts": tuple(self.texts[row] if row >= 0 else "" for row in rows)}
