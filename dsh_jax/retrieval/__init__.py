"""Retrieval: encoding, metrics of codes (`evaluate`), and baselines."""

from dsh_jax.retrieval.conventions import Conventions
from dsh_jax.retrieval.metrics import evaluate

__all__ = ["Conventions", "evaluate"]
