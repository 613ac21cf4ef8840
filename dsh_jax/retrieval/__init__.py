"""Retrieval: how good codes are (`evaluate`), and what simple codes reach (`baselines`)."""

from dsh_jax.retrieval.conventions import Conventions
from dsh_jax.retrieval.metrics import evaluate

__all__ = ["Conventions", "evaluate"]
