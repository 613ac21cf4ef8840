"""`conv2d` and `Conv` against XLA's convolution, Flax's layer and a sum written out."""

import math
import re
import subprocess
import sys
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from dsh_jax.networks.conv import Conv, conv2d

FAST_LAYOUT = "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"


def native(x, kernel, *, strides=(1, 1), padding="SAME"):
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def normal(seed, shape, dtype=jnp.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def assert_near(actual, wanted, rtol=1e-4):
    wanted = np.asarray(wanted, np.float32)
    scale = np.abs(wanted).max(initial=1e-6)
    np.testing.assert_allclose(
        np.asarray(actual, np.float32), wanted, rtol=rtol, atol=rtol * scale
    )


def value_and_gradients(convolve, x, kernel, dy):
    y, pullback = jax.vjp(convolve, x, kernel)
    return y, *pullback(dy)


def assert_same_convolution(x, kernel, strides, padding, rtol=1e-4):
    options = {"strides": strides, "padding": padding}
    shape = jax.eval_shape(partial(native, **options), x, kernel).shape
    dy = normal(2, shape, x.dtype)

    @jax.jit
    def both(*arguments):
        return [value_and_gradients(partial(f, **options), *arguments) for f in (conv2d, native)]

    for actual, wanted in zip(*both(x, kernel, dy), strict=True):
        assert actual.shape == wanted.shape and actual.dtype == wanted.dtype
        assert_near(actual, wanted, rtol)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    "size, strides, channels",
    [
        (1, (2, 2), (3, 4)),
        (2, (1, 1), (5, 2)),
        (3, (2, 1), (4, 6)),
        (4, (1, 1), (6, 3)),
        (5, (1, 1), (3, 8)),
    ],
)
def test_values_and_gradients_are_the_native_ones(size, strides, channels, padding):
    x, kernel = normal(0, (2, 9, 8, channels[0])), normal(1, (size, size, *channels))
    assert_same_convolution(x, kernel, strides, padding)


@pytest.mark.parametrize(
    "batch, image, size, strides, padding, channels",
    [
        (129, (8, 8), (3, 3), (1, 1), "SAME", (3, 16)),
        (40, (15, 17), (3, 5), (1, 1), "SAME", (4, 17)),
        (43, (18, 16), (5, 3), (1, 1), "VALID", (2, 16)),
        (36, (32, 33), (4, 4), (2, 2), "SAME", (3, 16)),
        (17, (45, 67), (3, 3), (2, 3), "VALID", (2, 18)),
    ],
)
def test_gradients_of_many_pixels_are_the_native_ones(
    batch, image, size, strides, padding, channels
):
    x, kernel = normal(0, (batch, *image, channels[0])), normal(1, (*size, *channels))
    assert batch * math.prod(native(x, kernel, strides=strides, padding=padding).shape[1:3]) > 8192
    assert_same_convolution(x, kernel, strides, padding)


@settings(max_examples=6, deadline=None)
@given(st.data())
def test_values_and_gradients_are_the_native_ones_for_any_shape(data):
    kernel_size = data.draw(st.tuples(*[st.integers(1, 5)] * 2))
    image_size = [data.draw(st.integers(k, 9)) for k in kernel_size]
    strides = data.draw(st.tuples(*[st.integers(1, 3)] * 2))
    batch, c_in, c_out = data.draw(st.tuples(*[st.integers(1, 6)] * 3))
    padding = data.draw(st.sampled_from(["SAME", "VALID"]))
    x = normal(0, (batch, *image_size, c_in))
    assert_same_convolution(x, normal(1, (*kernel_size, c_in, c_out)), strides, padding)


def test_a_sum_by_hand():
    x = jnp.arange(1.0, 10.0).reshape(1, 3, 3, 1)
    kernel = jnp.array([[1.0, 0.0], [0.0, 10.0]]).reshape(2, 2, 1, 1)
    convolve = jax.jit(partial(value_and_gradients, partial(conv2d, padding="VALID")))
    y, dx, dkernel = convolve(x, kernel, jnp.ones((1, 2, 2, 1)))
    np.testing.assert_array_equal(y[0, ..., 0], [[51, 62], [84, 95]])
    np.testing.assert_array_equal(dx[0, ..., 0], [[1, 1, 0], [1, 11, 10], [0, 10, 10]])
    np.testing.assert_array_equal(dkernel[..., 0, 0], [[12, 16], [24, 28]])


@pytest.mark.parametrize("size", [1, 3])
def test_bfloat16_is_near_float32(size):
    arrays = normal(0, (4, 7, 7, 6)), normal(1, (size, size, 6, 5)), normal(2, (4, 7, 7, 5))
    run = jax.jit(partial(value_and_gradients, conv2d))
    low = run(*(a.astype(jnp.bfloat16) for a in arrays))
    for actual, wanted in zip(low, run(*arrays), strict=True):
        assert actual.dtype == jnp.bfloat16
        assert_near(actual, wanted, rtol=0.02)


def test_bfloat16_weight_gradient_is_summed_in_float32():
    # 4096 ones: a bfloat16 sum of ones one by one would stop at 256.
    x = jnp.ones((16, 16, 16, 2), jnp.bfloat16)
    for size in (1, 3):
        kernel = jnp.zeros((size, size, 2, 3), jnp.bfloat16)
        dy = jnp.ones((16, 16, 16, 3), jnp.bfloat16)
        gradient = jax.jit(partial(value_and_gradients, conv2d))(x, kernel, dy)[2]
        middle = gradient[size // 2, size // 2]
        np.testing.assert_array_equal(middle.astype(jnp.float32), 4096.0)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("dtype", [None, jnp.float32, jnp.bfloat16])
def test_layer_is_interchangeable_with_flax(dtype, use_bias):
    options = dict(features=4, kernel_size=(3, 2), strides=(2, 1), padding="VALID",
                   use_bias=use_bias, dtype=dtype)
    ours, theirs = Conv(**options), nn.Conv(**options)
    x = normal(0, (2, 7, 6, 3))
    params = theirs.init(jax.random.key(3), x)
    jax.tree.map(np.testing.assert_array_equal, ours.init(jax.random.key(3), x), params)
    if use_bias:
        params["params"]["bias"] = jnp.arange(4.0)
    actual, wanted = jnp.asarray(ours.apply(params, x)), jnp.asarray(theirs.apply(params, x))
    assert actual.dtype == wanted.dtype
    assert_near(actual, wanted, rtol=0.02 if dtype == jnp.bfloat16 else 1e-4)


def gradients(x, kernel):
    return jax.grad(lambda x, k: (conv2d(x, k) ** 2).sum(), argnums=(0, 1))(x, kernel)


def convolutions(function, platform, *shapes):
    """The layouts of the convolutions in the program for one platform."""
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    text = jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
    return re.findall(r"dim_numbers = (\S.*?\]->\[.*?\])", text)


def test_on_the_cpu_every_convolution_has_the_fast_layout():
    ours = convolutions(gradients, "cpu", (2, 8, 8, 4), (3, 3, 4, 6))
    assert ours == [FAST_LAYOUT] * 3
    # A 1x1 kernel's gradient is a matrix product: forward and input gradient remain.
    assert len(convolutions(gradients, "cpu", (2, 8, 8, 4), (1, 1, 4, 6))) == 2


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_elsewhere_convolutions_are_the_native_ones(platform):
    def native_gradients(x, kernel):
        return jax.grad(lambda x, k: (native(x, k) ** 2).sum(), argnums=(0, 1))(x, kernel)

    shapes = ((2, 8, 8, 3), (3, 3, 3, 6))
    wanted = set(convolutions(native_gradients, platform, *shapes))
    assert len(wanted) == 3
    assert set(convolutions(gradients, platform, *shapes)) == wanted


def test_in_a_loop_the_fast_kernel_is_chosen():
    def looped(x, kernel):
        def body(_, kernel):
            return kernel - 1e-3 * gradients(x, kernel)[1]

        return lax.fori_loop(0, 3, body, kernel)

    x, kernel = normal(0, (2, 8, 8, 4)), normal(1, (3, 3, 4, 6))
    text = jax.jit(looped).lower(x, kernel).compile().as_text() or ""
    layouts = re.findall(r" convolution\(.*dim_labels=([^\s,]+)", text)
    assert "conditional" not in text  # the choice of platform is made when the program is built
    assert layouts and set(layouts) == {"b01f_01io->b01f"}
    step = jax.jit(lambda k: k - 1e-3 * gradients(x, k)[1])
    stepped = step(step(step(kernel)))
    assert_near(jax.jit(looped)(x, kernel), stepped)


PMAP = """
import jax, numpy as np
from dsh_jax.networks.conv import conv2d
assert jax.device_count() == 2
def gradient(x, k):
    return jax.lax.pmean(jax.grad(lambda k: (conv2d(x, k) ** 2).sum())(k), "devices")
random = np.random.default_rng(0)
x, k = (random.normal(size=s).astype("float32") for s in ((2, 3, 6, 6, 3), (3, 3, 3, 4)))
step = jax.pmap(gradient, axis_name="devices")
kk = np.stack([k, k])
assert "conditional" not in step.lower(x, kk).compile().as_text()
got = jax.block_until_ready(step(x, kk))
want = jax.jit(jax.grad(lambda k: (conv2d(x.reshape(6, 6, 6, 3), k) ** 2).sum()))(k) / 2
np.testing.assert_allclose(got[0], want, rtol=1e-3, atol=1e-2)
np.testing.assert_array_equal(got[0], got[1])
print("two devices agree")
"""


def test_under_pmap_on_two_simulated_devices():
    flags = "--xla_force_host_platform_device_count=2"
    program = f"import os; os.environ.update(XLA_FLAGS={flags!r}, JAX_PLATFORMS='cpu')\n" + PMAP
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "two devices agree\n", done.stderr


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 4, 4, 3\).*\(3, 3, 2, 5\)"):
        conv2d(jnp.zeros((1, 4, 4, 3)), jnp.zeros((3, 3, 2, 5)))
    with pytest.raises(ValueError, match="FULL"):
        conv2d(jnp.zeros((1, 4, 4, 2)), jnp.zeros((3, 3, 2, 5)), padding="FULL")
