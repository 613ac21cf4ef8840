"""The residual generator and its conditional batch normalisation, which is written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsh_jax.errors import UserError
from dsh_jax.networks.residual_generator import ConditionalBatchNorm, ResidualGenerator, UpBlock
from tests.small_dsh_gan import build, compiled, make_batch, make_config

KEY = jax.random.key(0)
MULTI_HOT = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]], np.float32)


def initialised(module, *inputs):
    return jax.jit(lambda *x: module.init(KEY, *x, train=False))(*inputs)


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
    x = generator.apply(variables, z, label, train=False)
    assert -1 <= x.min() < -0.99 and 0.99 < x.max() <= 1


def test_conditional_normalisation_by_its_definition():
    norm = ConditionalBatchNorm()
    x = np.random.default_rng(0).normal(3, 2, (4, 2, 2, 5)).astype(np.float32)
    variables = initialised(norm, x, MULTI_HOT)
    params = jax.tree.map(lambda p: p + 0.5, variables["params"])
    y, new = norm.apply(
        variables | {"params": params}, x, MULTI_HOT, train=True, mutable=["batch_stats"]
    )
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
    evaluated = norm.apply(new | {"params": params}, x, MULTI_HOT, train=False)
    alone = norm.apply(new | {"params": params}, x[:1], MULTI_HOT[:1], train=False)
    np.testing.assert_allclose(evaluated[:1], alone, rtol=1e-5, atol=1e-5)


def test_without_its_branch_a_block_doubles_pixels():
    block, x = UpBlock(3), jax.random.normal(KEY, (2, 4, 4, 6))
    label = jnp.eye(3)[:2]
    variables = initialised(block, x, label)
    params = variables["params"]
    upsample = jax.tree.map(jnp.zeros_like, params["Upsample_0"])
    y = block.apply(
        variables | {"params": {**params, "Upsample_0": upsample}}, x, label, train=False
    )
    kernel = params["Conv_0"]["kernel"][0, 0]
    for i, j in ((0, 0), (3, 6), (7, 7)):
        np.testing.assert_allclose(y[:, i, j], x[:, i // 2, j // 2] @ kernel, rtol=1e-4, atol=1e-5)


def test_images_depend_on_noise_and_on_every_label():
    generator = ResidualGenerator((8, 8, 1), width=4)
    z = jnp.ones((4, 5)).at[1].set(2)
    label = jnp.array([[1.0, 0], [1, 0], [0, 1], [1, 1]])
    variables = initialised(generator, z, label)
    x = np.asarray(generator.apply(variables, z, label, train=False))
    assert all(not np.allclose(x[0], other, atol=1e-4) for other in x[1:])
    # Through the normalisation too, and not through the seed alone.
    blind = jax.tree.map(lambda p: p, variables)
    seed = blind["params"]["Dense_0"]
    seed["kernel"] = seed["kernel"].at[5:].set(0)
    x = np.asarray(generator.apply(blind, z, label, train=False))
    assert not np.allclose(x[0], x[2], atol=1e-4) and not np.allclose(x[0], x[3], atol=1e-4)


def test_it_is_trained_in_place_of_dcgan():
    method = build(generator__name="residual")
    state = jax.tree.map(np.asarray, jax.jit(method.init)(jax.random.key(1)))
    after, metrics = compiled(method.stages[0].step)(state, make_batch())
    assert all(np.isfinite(value) for value in metrics.values())
    before = jax.tree.leaves(state.params["generator"])
    moved = [not np.array_equal(a, b) for a, b in
             zip(jax.tree.leaves(after.params["generator"]), before, strict=True)]  # fmt: skip
    assert sum(moved) > 0.8 * len(moved)



def test_an_unknown_generator_is_refused():
    with pytest.raises(UserError, match="generator.name is 'vae'; set it to one of"):
        build(generator__name="vae")
    assert make_config().generator.name == "dcgan"
