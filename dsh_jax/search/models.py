"""The model that makes the codes of an index."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsh_jax.encoder import Encoder


def load(model: str | Path) -> "Encoder":
    """The encoder of a workdir or a file; its compiled programs are kept for the next command."""
    from dsh_jax import compilation_cache, encoder  # import JAX, which other verbs do without

    compilation_cache.enable()
    return encoder.load_encoder(model)
