"""Retrieval: how good codes are (`metrics`), and what simple codes reach (`baselines`)."""

from dsh_jax.retrieval.metrics import (
    average_precision,
    evaluate,
    histograms,
    precision_at,
    precision_within_radius,
    recall_at,
)

__all__ = [
    "average_precision",
    "evaluate",
    "histograms",
    "precision_at",
    "precision_within_radius",
    "recall_at",
]
