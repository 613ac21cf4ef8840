"""The residual generator and its conditional batch normalisation, which is written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsh_jax.devices import AXIS
from dsh_jax.errors import UserError
from dsh_jax.networks.residual_generator import ConditionalBatchNorm, ResidualGenerator, UpBlock
from tests.small_dsh_gan import build, make_batch, make_config

KEY = jax.random.key(0)
MULTI_HOT = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]], np.float32)


def initialised(module, *inputs):
    # Compiled as one: op by op it takes several times as long.
    return jax.jit(lambda *x: module.init(KEY, *x, train=False))(*inputs)


def evaluated(module, variables, *inputs):
    return np.asarray(jax.jit(lambda v, *x: module.apply(v, *x, train=False))(variables, *inputs))


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (16, 3), (32, 3), (64, 3)])
def test_images_have_their_size_and_range(size, channels):
    generator = ResidualGenerator((size, size, channels), width=2)
    image, variables = jax.eval_shape(
        lambda k: generator.init_with_output(
            k, jnp.zeros((4, 5)), jnp.zeros((4, 3)), train=False
        ),
        KEY,
    )
    assert (image.shape, image.dtype) == ((4, size, size, channels), jnp.float32)
    assert set(variables) == {"params", "batch_stats"}
    # As many blocks as doublings from 4 x 4.
    blocks = [name for name in variables["params"] if name.startswith("UpBlock")]
    assert 4 * 2 ** len(blocks) == size


@pytest.mark.parametrize("shape", [(4, 4, 1), (28, 28, 1), (16, 32, 3)])
def test_a_size_that_cannot_be_drawn_is_named(shape):
    with pytest.raises(ValueError, match=f"{shape[0]}x{shape[1]}"):
        ResidualGenerator(shape, width=2)


def test_large_weights_reach_the_ends_of_the_range_and_no_further():
    generator = ResidualGenerator((8, 8, 3), width=2)
    z, label = jax.random.normal(KEY, (4, 5)), jnp.eye(4)
    variables = initialised(generator, z, label)
    variables["params"] = jax.tree.map(lambda p: 1000 * p, variables["params"])
    x = evaluated(generator, variables, z, label)
    assert -1 <= x.min() < -0.99 and 0.99 < x.max() <= 1


def test_conditional_normalisation_by_its_definition():
    norm = ConditionalBatchNorm()
    x = np.random.default_rng(0).normal(3, 2, (4, 2, 2, 5)).astype(np.float32)
    variables = initialised(norm, x, MULTI_HOT)
    params = jax.tree.map(lambda p: p + 0.5, variables["params"])
    y, new = jax.jit(
        lambda v: norm.apply(v, x, MULTI_HOT, train=True, mutable=["batch_stats"])
    )(variables | {"params": params})
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    scale, shift = (
        MULTI_HOT @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"])
        for name in ("scale", "shift")
    )
    wanted = np.empty_like(x)
    for i in range(4):
        wanted[i] = (x[i] - mean) / np.sqrt(variance + 1e-5) * scale[i] + shift[i]
    np.testing.assert_allclose(y, wanted, rtol=1e-3, atol=1e-3)
    # The parts of two labels add up.
    parts = scale - scale[3]
    np.testing.assert_allclose(parts[2], parts[0] + parts[1], rtol=1e-5)
    # In evaluation the running statistics stand, so that an image does not depend on the others.
    every = evaluated(norm, new | {"params": params}, x, MULTI_HOT)
    alone = evaluated(norm, new | {"params": params}, x[:1], MULTI_HOT[:1])
    np.testing.assert_allclose(every[:1], alone, rtol=1e-5, atol=1e-5)


def test_without_its_branch_a_block_doubles_pixels():
    block, x = UpBlock(3), jax.random.normal(KEY, (2, 4, 4, 6))
    label = jnp.eye(3)[:2]
    variables = initialised(block, x, label)
    params = variables["params"]
    upsample = jax.tree.map(jnp.zeros_like, params["Upsample_0"])
    without = variables | {"params": {**params, "Upsample_0": upsample}}
    y, x = evaluated(block, without, x, label), np.asarray(x)
    kernel = np.asarray(params["Conv_0"]["kernel"])[0, 0]
    for i, j in ((0, 0), (3, 6), (7, 7)):
        np.testing.assert_allclose(y[:, i, j], x[:, i // 2, j // 2] @ kernel, rtol=1e-4, atol=1e-5)


def test_images_depend_on_noise_and_on_every_label():
    generator = ResidualGenerator((8, 8, 1), width=4)
    z = jnp.ones((4, 5)).at[1].set(2)
    label = jnp.array([[1.0, 0], [1, 0], [0, 1], [1, 1]])
    variables = initialised(generator, z, label)
    x = evaluated(generator, variables, z, label)
    assert all(not np.allclose(x[0], other, atol=1e-4) for other in x[1:])
    # Through the normalisation too, and not through the seed alone.
    blind = jax.tree.map(lambda p: p, variables)
    seed = blind["params"]["Dense_0"]
    seed["kernel"] = seed["kernel"].at[5:].set(0)
    x = evaluated(generator, blind, z, label)
    assert not np.allclose(x[0], x[2], atol=1e-4) and not np.allclose(x[0], x[3], atol=1e-4)


def test_it_is_trained_in_place_of_dcgan():
    method = build(generator__name="residual", ema_decay=0.9)
    # Traced, not compiled: the step keeps the state in shape, under a device axis of one.
    state = jax.eval_shape(method.init, jax.random.key(1))
    for params in (state.params["generator"], state.ema["generator"]["params"]):
        assert "UpBlock_0" in params
    step = jax.vmap(method.stages[0].step, in_axes=(0, 0, None), axis_name=AXIS)
    stacked, batch = (
        jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), tree)
        for tree in (state, make_batch())
    )
    after, _ = jax.eval_shape(step, stacked, batch, jax.random.key(0))
    jax.tree.map(lambda a, b: np.testing.assert_equal((a.shape, a.dtype), (b.shape, b.dtype)),
                 after, stacked)  # fmt: skip




def test_an_unknown_generator_is_refused():
    with pytest.raises(UserError, match="generator.name is 'vae'; set it to one of"):
        build(generator__name="vae")
    assert make_config().generator.name == "dcgan"
