"""Vision transformers as timm, DINOv2 and CLIP have them, without their heads.

Dosovitskiy et al.: "An Image is Worth 16x16 Words", ICLR 2021; layer scale after DINOv2 (Oquab et
al., 2023), the norm before the blocks and the quick GELU after CLIP (Radford et al., 2021). Modules
have timm's names, a dot written as "_", so that weights find their places.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

_NORMAL = nn.initializers.truncated_normal(0.02)


class VisionTransformer(nn.Module):
    """A vision transformer; features are the class token after the last norm.

    CLIP's projection into the space of texts is left out: its input separates images better.

    Attributes:
      patch: rows and columns of a patch.
      dim: length of a token.
      depth: number of blocks.
      heads: of the attention.
      mlp_ratio: width of a block's dense layers, in multiples of `dim`.
      layer_scale: whether each branch is multiplied by a learned vector, as in DINOv2.
      pre_norm: whether tokens are normalised before the blocks, as in CLIP; patches then have no
        bias.
      quick_gelu: whether the activation is `x sigmoid(1.702 x)`, as in OpenAI's CLIP.
      epsilon: of the norms.
      dtype: compute dtype.
    """

    patch: int
    dim: int
    depth: int
    heads: int
    mlp_ratio: int = 4
    layer_scale: bool = False
    pre_norm: bool = False
    quick_gelu: bool = False
    epsilon: float = 1e-6
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images `[batch, h, w, 3]`, normalised, to features `[batch, dim]`.

        Raises:
          ValueError: the sides are no multiples of a patch.
        """
        del train  # nothing is drawn or counted
        batch, height, width, channels = images.shape
        if height % self.patch or width % self.patch:
            raise ValueError(f"images of {height}x{width} pixels cannot be cut into patches")
        rows, columns = height // self.patch, width // self.patch
        x = images.astype(self.dtype).reshape(
            batch, rows, self.patch, columns, self.patch, channels
        )
        x = x.swapaxes(2, 3).reshape(batch, rows * columns, -1)
        x = nn.Dense(
            self.dim, use_bias=not self.pre_norm, dtype=self.dtype, name="patch_embed_proj"
        )(x)
        first = self.param("cls_token", _NORMAL, (1, 1, self.dim))
        places = self.param("pos_embed", _NORMAL, (1, 1 + rows * columns, self.dim))
        first = jnp.broadcast_to(first.astype(self.dtype), (batch, 1, self.dim))
        x = jnp.concatenate([first, x], axis=1) + places.astype(self.dtype)
        if self.pre_norm:
            x = self._norm("norm_pre")(x)
        for number in range(self.depth):
            x = Layer(
                self.heads, self.mlp_ratio, self.layer_scale, self.quick_gelu, self.epsilon,
                self.dtype, name=f"blocks_{number}",
            )(x)  # fmt: skip
        return self._norm("norm")(x[:, 0])

    def _norm(self, name: str) -> nn.LayerNorm:
        return nn.LayerNorm(self.epsilon, dtype=self.dtype, name=name)


class Layer(nn.Module):
    """Attention and two dense layers, each behind a norm and beside an identity.

    Attributes:
      heads, mlp_ratio, layer_scale, quick_gelu, epsilon, dtype: as for `VisionTransformer`.
    """

    heads: int
    mlp_ratio: int
    layer_scale: bool
    quick_gelu: bool
    epsilon: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps tokens `[batch, tokens, dim]` to tokens of the same shape."""
        batch, tokens, dim = x.shape

        def dense(name: str, size: int, y: jax.Array) -> jax.Array:
            return nn.Dense(size, dtype=self.dtype, name=name)(y)

        def norm(name: str) -> jax.Array:
            return nn.LayerNorm(self.epsilon, dtype=self.dtype, name=name)(x)

        def scaled(name: str, y: jax.Array) -> jax.Array:
            if not self.layer_scale:
                return y
            gamma = self.param(name, nn.initializers.constant(1e-5), (dim,))
            return y * gamma.astype(self.dtype)

        qkv = dense("attn_qkv", 3 * dim, norm("norm1"))
        qkv = qkv.reshape(batch, tokens, 3, self.heads, dim // self.heads)
        y = _attend(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]).reshape(batch, tokens, dim)
        x = x + scaled("ls1_gamma", dense("attn_proj", dim, y))
        y = dense("mlp_fc1", self.mlp_ratio * dim, norm("norm2"))
        y = y * nn.sigmoid(1.702 * y) if self.quick_gelu else nn.gelu(y, approximate=False)
        return x + scaled("ls2_gamma", dense("mlp_fc2", dim, y))


def _attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """Softmax attention of tokens `[batch, tokens, heads, size]`; weights are float32."""
    logits = jnp.einsum(
        "bqhd,bkhd->bhqk", query, key, preferred_element_type=jnp.float32
    ) / math.sqrt(query.shape[-1])
    return jnp.einsum("bhqk,bkhd->bqhd", nn.softmax(logits).astype(value.dtype), value)


def resize_places(places: jax.Array, tokens: int) -> jax.Array:
    """Position embeddings for another number of patches.

    Bicubic with antialiasing, as timm's `resample_abs_pos_embed` does it. DINOv2's own code takes
    another cubic (a = -0.75, where timm's and this have -0.5) and no antialiasing.

    Args:
      places: `[1, 1 + patches, dim]`, the class token first.
      tokens: one more than the new number of patches; both numbers are squares.

    Returns:
      `[1, tokens, dim]`.

    Raises:
      ValueError: a number of patches is no square.
    """
    old, new = math.isqrt(places.shape[1] - 1), math.isqrt(tokens - 1)
    if old**2 != places.shape[1] - 1 or new**2 != tokens - 1:
        raise ValueError(f"{places.shape[1] - 1} or {tokens - 1} patches are no square")
    if old == new:
        return places
    first, grid = places[:, :1], places[:, 1:].reshape(1, old, old, -1)
    grid = jax.image.resize(grid, (1, new, new, grid.shape[-1]), "cubic", antialias=True)
    return jnp.concatenate([first, grid.reshape(1, new**2, -1)], axis=1)
