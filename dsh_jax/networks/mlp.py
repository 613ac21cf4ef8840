"""Dense networks for vectors: the shared representation `mlp`, and a generator of vectors."""

import flax.linen as nn
import jax
import jax.numpy as jnp

NORMS = ("none", "batch", "layer")
MOST_LAYERS = 3

_HE = nn.initializers.he_normal()


class Mlp(nn.Module):
    """Dense layers of one width, each with normalisation, ReLU and dropout.

    Attributes:
      depth: number of layers; 0 gives the vectors back as they are.
      width: outputs of each layer.
      dropout: probability of dropping an output.
      norm: one of `NORMS`.
      spectral_norm: normalise every layer by its largest singular value.
      axis_name: device axis over which batch statistics are averaged; None for one device.
      dtype: compute dtype.
    """

    depth: int
    width: int
    dropout: float = 0.0
    norm: str = "none"
    spectral_norm: bool = False
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, vectors: jax.Array, *, train: bool) -> jax.Array:
        """Maps vectors `[batch, inputs]` to features `[batch, width or inputs]`."""
        x = vectors.astype(self.dtype)
        for _ in range(self.depth):
            dense = nn.Dense(
                self.width, use_bias=self.norm != "batch", kernel_init=_HE, dtype=self.dtype
            )
            if self.spectral_norm:
                x = nn.SpectralNorm(dense)(x, update_stats=train)
            else:
                x = dense(x)
            if self.norm == "batch":
                x = nn.BatchNorm(
                    use_running_average=not train, momentum=0.9, axis_name=self.axis_name,
                    dtype=self.dtype,
                )(x)  # fmt: skip
            elif self.norm == "layer":
                x = nn.LayerNorm(dtype=self.dtype)(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(x))
        return x


class VectorGenerator(nn.Module):
    """Maps noise and a class vector to a vector, by two hidden layers with batch normalisation.

    Attributes:
      shape: `(width of a vector,)`.
      width: outputs of each hidden layer.
      axis_name: device axis over which batch statistics are averaged; None for one device.
      dtype: compute dtype.
      on_sphere: whether vectors have the length sqrt(width of a vector), as normalised ones have.
    """

    shape: tuple[int]
    width: int
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32
    on_sphere: bool = False

    @nn.compact
    def __call__(self, z: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        """Draws vectors, float32 `[batch, width of a vector]`.

        Args:
          z: noise, `[batch, z_dim]`.
          label: class vector, one-hot or multi-hot, `[batch, classes]`.
          train: use this batch's statistics (and update the running ones) or the running ones.
        """
        x = jnp.concatenate([z, label], axis=-1).astype(self.dtype)
        for _ in range(2):
            x = nn.Dense(self.width, use_bias=False, kernel_init=_HE, dtype=self.dtype)(x)
            x = nn.BatchNorm(
                use_running_average=not train, momentum=0.9, axis_name=self.axis_name,
                dtype=self.dtype,
            )(x)  # fmt: skip
            x = nn.relu(x)
        x = nn.Dense(self.shape[0], dtype=self.dtype)(x).astype(jnp.float32)
        if not self.on_sphere:
            return x
        length = jnp.sqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-12)
        return x * (jnp.sqrt(float(self.shape[0])) / length)
