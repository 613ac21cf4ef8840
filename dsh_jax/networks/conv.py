"""A 2-D convolution whose gradients are fast on the CPU as well.

XLA's CPU back end has a fast kernel for one layout (NHWC images, HWIO kernel), and converts other
layouts to it only at the top level of a program. In the body of a `lax.scan`, `lax.fori_loop` or
`lax.cond` it runs the gradients, whose layouts differ, in a naive loop, a hundred times slower
(https://github.com/jax-ml/jax/issues/12868). Here the gradients are written in the fast layout, and
shapes that the fast kernel handles slowly are rewritten. On GPU and TPU forward and gradients are
XLA's own convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_Pair = tuple[int, int]
_Pads = Sequence[_Pair]

# Of the kernel's gradient on the CPU, measured with 3x3 and 5x5 kernels:
_MANY = 8192  # from so many pixels of a batch on, products of blocks are the fastest, 2 to 4 times,
_THIN = 16  # if there are at least so many output channels.


def _native(x: jax.Array, kernel: jax.Array, strides: _Pair, padding: str | _Pads) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=_LAYOUT)


def _even_channels(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Adds a channel of zeros to an odd number: RGB images are then six times as fast."""
    if x.shape[-1] % 2 == 0 or x.shape[-1] == 1:
        return x, kernel
    return (
        jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1))),
        jnp.pad(kernel, ((0, 0), (0, 0), (0, 1), (0, 0))),
    )


def _forward_cpu(x: jax.Array, kernel: jax.Array, strides: _Pair, padding: str) -> jax.Array:
    return _native(*_even_channels(x, kernel), strides, padding)


def _image_gradient_cpu(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, strides: _Pair, padding: str
) -> jax.Array:
    """Gradient with respect to `x`: `dy`, dilated by the strides, with the mirrored kernel."""
    pads = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    geometry = zip(x.shape[1:3], kernel.shape[:2], dy.shape[1:3], strides, pads, strict=True)
    full = [(k - 1 - low, n - (m - 1) * s - 1 + low) for n, k, m, s, (low, _) in geometry]
    dy, mirrored = _even_channels(dy, kernel[::-1, ::-1].swapaxes(2, 3))
    return lax.conv_general_dilated(
        dy, mirrored, (1, 1), full, lhs_dilation=strides, dimension_numbers=_LAYOUT
    )


def _correlate(
    x: jax.Array, dy: jax.Array, kernel_size: _Pair, strides: _Pair, low: Sequence[int]
) -> jax.Array:
    """Sums `x` times `dy` at every kernel offset: `[kh, kw, channels of x, channels of dy]`.

    A convolution in which batch and channels swap roles. `low` is the number of zeros padded
    before the rows and the columns of `x`; after them as many as `kernel_size` offsets need.
    """
    geometry = zip(x.shape[1:3], dy.shape[1:3], kernel_size, strides, low, strict=True)
    pads = [(before, (m - 1) * s + k - n - before) for n, m, k, s, before in geometry]
    product = lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0),
        dy.transpose(1, 2, 0, 3),
        (1, 1),
        pads,
        rhs_dilation=strides,
        dimension_numbers=_LAYOUT,
        preferred_element_type=jnp.float32,
    )
    return product.transpose(1, 2, 0, 3)


def _products(
    x: jax.Array, dy: jax.Array, kernel_size: _Pair, strides: _Pair, pads: _Pads
) -> jax.Array:
    """The same sums, by one matrix product per offset."""
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    rows, columns = ((m - 1) * s + 1 for m, s in zip(dy.shape[1:3], strides, strict=True))
    products = [
        lax.dot_general(
            x[:, i : i + rows : strides[0], j : j + columns : strides[1]].reshape(-1, x.shape[-1]),
            dy.reshape(-1, dy.shape[-1]),
            (((0,), (0,)), ((), ())),
            preferred_element_type=jnp.float32,
        )
        for i in range(kernel_size[0])
        for j in range(kernel_size[1])
    ]
    return jnp.stack(products).reshape(*kernel_size, x.shape[-1], dy.shape[-1])


def _products_of_blocks(
    x: jax.Array, dy: jax.Array, kernel_size: _Pair, strides: _Pair, pads: _Pads
) -> jax.Array:
    """The same sums, by one matrix product per row of the kernel and block of images.

    Patches of two images stay in the CPU's cache, where those of a whole batch do not.
    """
    (height, width), (rows, columns) = kernel_size, dy.shape[1:3]
    channels, outputs = x.shape[-1], dy.shape[-1]
    tall, wide = (rows - 1) * strides[0] + 1, (columns - 1) * strides[1] + 1
    even = (0, len(x) % 2)
    x = jnp.pad(x, (even, *pads, (0, 0)))
    dy = jnp.pad(dy, (even, (0, 0), (0, 0), (0, 0)))

    def add(total: jax.Array, block: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        images, gradients = block
        gradients = gradients.reshape(-1, outputs)
        offsets = [images[:, :, j : j + wide : strides[1]] for j in range(width)]
        patches = jnp.concatenate(offsets, axis=-1)
        products = [
            lax.dot_general(
                patches[:, i : i + tall : strides[0]].reshape(-1, width * channels),
                gradients,
                (((0,), (0,)), ((), ())),
                preferred_element_type=jnp.float32,
            )
            for i in range(height)
        ]
        return total + jnp.stack(products), None

    blocks = [array.reshape(-1, 2, *array.shape[1:]) for array in (x, dy)]
    total = jnp.zeros((height, width * channels, outputs), jnp.float32)
    total, _ = lax.scan(add, total, (blocks[0], blocks[1]))
    return total.reshape(height, width, channels, outputs)


def _kernel_gradient_cpu(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, strides: _Pair, padding: str
) -> jax.Array:
    size = (kernel.shape[0], kernel.shape[1])
    pads = lax.padtype_to_pads(x.shape[1:3], size, strides, padding)
    low = [before for before, _ in pads]
    if size[0] * size[1] <= 4:  # 1x1 and 2x2: few products, faster than a convolution
        gradient = _products(x, dy, size, strides, pads)
    elif math.prod(dy.shape[:3]) >= _MANY and dy.shape[-1] >= _THIN:
        gradient = _products_of_blocks(x, dy, size, strides, pads)
    elif dy.shape[-1] < x.shape[-1] and dy.shape[1:3] == x.shape[1:3]:
        # Few output channels make a thin matrix product: swap x and dy. Not where x is larger
        # than dy: it becomes the kernel, and a kernel larger than its image has no fast path.
        mirrored = [k - 1 - before for k, before in zip(size, low, strict=True)]
        gradient = _correlate(dy, x, size, strides, mirrored)[::-1, ::-1].swapaxes(2, 3)
    else:
        gradient = _correlate(x, dy, size, strides, low)
    return gradient.astype(kernel.dtype)


def _gradients_cpu(x, kernel, dy, strides, padding):
    return (
        _image_gradient_cpu(x, kernel, dy, strides, padding),
        _kernel_gradient_cpu(x, kernel, dy, strides, padding),
    )


def _gradients_native(x, kernel, dy, strides, padding):
    (dx,) = jax.linear_transpose(lambda x: _native(x, kernel, strides, padding), x)(dy)
    (dkernel,) = jax.linear_transpose(lambda k: _native(x, k, strides, padding), kernel)(dy)
    return dx, dkernel


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv2d(x, kernel, strides, padding):
    options = {"strides": strides, "padding": padding}
    return lax.platform_dependent(
        x, kernel, cpu=partial(_forward_cpu, **options), default=partial(_native, **options)
    )


def _conv2d_forward(x, kernel, strides, padding):
    return _conv2d(x, kernel, strides, padding), (x, kernel)


def _conv2d_backward(strides, padding, residuals, dy):
    options = {"strides": strides, "padding": padding}
    return lax.platform_dependent(
        *residuals,
        dy,
        cpu=partial(_gradients_cpu, **options),
        default=partial(_gradients_native, **options),
    )


_conv2d.defvjp(_conv2d_forward, _conv2d_backward)


def conv2d(
    x: jax.Array, kernel: jax.Array, *, strides: tuple[int, int] = (1, 1), padding: str = "SAME"
) -> jax.Array:
    """Convolves images with a kernel, as `jax.lax.conv_general_dilated` does.

    Differentiable in reverse mode. The gradient of a gradient is XLA's own, and slower on the CPU.

    Args:
      x: images `[batch, height, width, channels_in]`.
      kernel: `[kernel_height, kernel_width, channels_in, channels_out]`, of the dtype of `x`.
      strides: in rows and in columns.
      padding: `"SAME"` or `"VALID"`.

    Returns:
      `[batch, height_out, width_out, channels_out]`, of the dtype of `x`.

    Raises:
      ValueError: the shapes do not match, or the padding is unknown.
    """
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[-1] != kernel.shape[2]:
        raise ValueError(f"conv2d got images {x.shape} (NHWC) and a kernel {kernel.shape} (HWIO)")
    if padding not in ("SAME", "VALID"):
        raise ValueError(f"padding is 'SAME' or 'VALID', not {padding!r}")
    rows, columns = strides
    return _conv2d(x, kernel, (rows, columns), padding)


class Conv(nn.Module):
    """`nn.Conv` for images, using `conv2d`, with the same parameter names and shapes.

    Attributes:
      features: number of output channels.
      kernel_size: rows and columns of the kernel.
      strides: in rows and in columns.
      padding: `"SAME"` or `"VALID"`.
      use_bias: whether a bias is added.
      kernel_init: initializer of the kernel.
      dtype: compute dtype; None takes the common dtype of the input and the parameters.
      param_dtype: dtype of the parameters.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: str = "SAME"
    use_bias: bool = True
    kernel_init: Callable[..., jax.Array] = nn.initializers.lecun_normal()
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[batch, height, width, channels]` to `[batch, height_out, width_out, features]`."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = conv2d(x, kernel, strides=self.strides, padding=self.padding)
        return y if bias is None else y + bias


def max_pool(x: jax.Array) -> jax.Array:
    """2x2 max pooling of stride 2: `[batch, h, w, c]` -> `[batch, h // 2, w // 2, c]`.

    Written with slices, whose gradient is much faster on the CPU than that of a window reduction.
    """
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    x = jnp.maximum(x[:, 0:height:2], x[:, 1:height:2])
    return jnp.maximum(x[:, :, 0:width:2], x[:, :, 1:width:2])
