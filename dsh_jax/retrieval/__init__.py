"""Retrieval: how good codes are (`evaluate`), and what simple codes reach (`baselines`)."""

from dsh_jax.retrieval.metrics import evaluate
from dsh_jax.retrieval.protocol import Protocol

__all__ = ["Protocol", "evaluate"]
