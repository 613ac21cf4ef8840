"""Vectors that something else has computed, such as embeddings, as data."""
