"""Deep semantic hashing in JAX/Flax: short binary codes that keep meaning."""

__version__ = "0.1.0"
