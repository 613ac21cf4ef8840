"""Networks: shapes, ranges and dtypes, and their parts against Flax's own."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsh_jax.networks import representation
from dsh_jax.networks.generator import Generator, Upsample
from dsh_jax.networks.streams import AdversaryStream, ClassificationStream, HashStream

KEY = jax.random.key(0)


def network(name, **changes):
    options = dict(width=8, depth=10, features=6, dropout=0.0, norm="none", spectral_norm=False,
                   dtype=jnp.dtype("float32"))  # fmt: skip
    return representation.build(name, **options | changes)


def shapes(module, *inputs, **options):
    """Output and variables as shapes and dtypes; nothing is computed."""
    return jax.eval_shape(lambda k, *x: module.init_with_output(k, *x, **options), KEY, *inputs)


def initialised(module, *inputs):
    # Compiled as one: op by op it takes several times as long.
    return jax.jit(lambda *x: module.init(KEY, *x, train=False))(*inputs)


def images(size, channels=3, n=2):
    return jax.ShapeDtypeStruct((n, size, size, channels), jnp.float32)


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (32, 3)])
@pytest.mark.parametrize("norm", ["none", "group"])
@pytest.mark.parametrize("name", ["conv3", "alexnet", "wide_resnet"])
def test_representation_maps_images_to_features(name, norm, size, channels):
    features, variables = shapes(network(name, norm=norm), images(size, channels), train=False)
    assert (features.shape, features.dtype) == ((2, 6), jnp.float32)
    assert set(variables) == {"params"}
    assert any("GroupNorm" in jax.tree_util.keystr(path)
               for path, _ in jax.tree_util.tree_leaves_with_path(variables)
               ) == (norm == "group")  # fmt: skip


def test_wide_resnet_without_a_dense_layer_has_four_widths():
    features, _ = shapes(network("wide_resnet", features=0), images(32), train=False)
    assert features.shape == (2, 4 * 8)


def test_wide_resnet_16_4_has_its_known_size():
    # Zagoruyko & Komodakis report 2.75M (rounded to 2.7M) parameters for WRN-16-4 on CIFAR-10,
    # batch normalisation and the dense layer of 256 x 10 among them.
    net = network("wide_resnet", depth=16, width=64, features=0, norm="group")
    _, variables = shapes(net, images(32), train=False)
    total = sum(leaf.size for leaf in jax.tree.leaves(variables))
    assert 2.70e6 < total + 2570 < 2.80e6


def test_alexnet_strides_only_over_large_images():
    for size, kernel in ((32, 5), (128, 11)):
        features, variables = shapes(network("alexnet"), images(size), train=False)
        assert features.shape == (2, 6)
        first = variables["params"]["_SpectralConv_0"]["Conv_0"]["kernel"]
        assert first.shape == (kernel, kernel, 3, 8)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("resnet", {}, "representation.name.*'resnet'"),
        ("conv3", {"norm": "batch"}, "representation.norm.*'batch'"),
        ("wide_resnet", {"depth": 17}, "representation.depth.*17"),
        ("wide_resnet", {"depth": 4}, "representation.depth.*4"),
    ],
)
def test_representation_names_the_field_that_is_wrong(name, changes, message):
    with pytest.raises(ValueError, match=message):
        network(name, **changes)


@pytest.mark.parametrize("name", ["conv3", "wide_resnet"])
def test_dropout_acts_in_training_alone(name):
    net, x = network(name, dropout=0.5, features=64), jax.random.normal(KEY, (2, 8, 8, 1))
    variables = initialised(net, x)
    kept = np.asarray(net.apply(variables, x, train=False))
    dropped = np.asarray(net.apply(variables, x, train=True, rngs={"dropout": KEY}))
    # What is kept is scaled by 1 / (1 - 0.5).
    survivors = dropped != 0
    assert 0.2 < survivors[kept > 0].mean() < 0.8
    np.testing.assert_allclose(dropped[survivors], 2 * kept[survivors], rtol=1e-5)


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (1, 7, 5, 2), (1, 2, 3, 1)])
def test_max_pool_is_flaxs(shape):
    x = jax.random.normal(KEY, shape)
    wanted = nn.max_pool(x, (2, 2), (2, 2))
    np.testing.assert_array_equal(representation.max_pool(x), wanted)


@pytest.mark.parametrize("size", [8, 16, 32])
def test_generator_draws_images_of_its_size(size):
    generator = Generator((size, size, 3), width=2)
    z, label = jax.random.normal(KEY, (4, 5)), jnp.eye(4)
    variables = initialised(generator, z, label)
    assert set(variables) == {"params", "batch_stats"}
    # Large weights reach the ends of the range and no further.
    variables["params"] = jax.tree.map(lambda p: 1000 * p, variables["params"])
    draw = jax.jit(lambda v: generator.apply(v, z, label, train=True, mutable=["batch_stats"]))
    x, _ = draw(variables)
    assert (x.shape, x.dtype) == ((4, size, size, 3), jnp.float32)
    assert -1 <= x.min() < -0.99 and 0.99 < x.max() <= 1


def test_generator_looks_at_noise_and_label():
    generator = Generator((8, 8, 1), width=2)
    z, label = jnp.ones((3, 5)).at[1].set(2), jnp.eye(2)[jnp.array([0, 0, 1])]
    variables = initialised(generator, z, label)
    x = generator.apply(variables, z, label, train=False)
    assert not np.allclose(x[0], x[1]) and not np.allclose(x[0], x[2])


@pytest.mark.parametrize("shape", [(4, 4, 1), (2, 2, 1), (28, 28, 1), (16, 32, 3), (33, 33, 3)])
def test_generator_names_a_size_it_cannot_draw(shape):
    with pytest.raises(ValueError, match=f"{shape[0]}x{shape[1]}"):
        shapes(Generator(shape, width=2), jnp.zeros((1, 5)), jnp.zeros((1, 2)), train=False)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 4), (3, 5)])
def test_upsample_is_a_transposed_convolution(height, width, use_bias):
    theirs = nn.ConvTranspose(6, (4, 4), strides=(2, 2), use_bias=use_bias)
    ours = Upsample(6, use_bias=use_bias)
    x = jax.random.normal(KEY, (2, height, width, 3))
    params = theirs.init(KEY, x)["params"]
    # Output row 2p + i sees input rows p + i - 1 and p + i through kernel rows i and i + 2; so in
    # the 2x2 kernel [r, s] stands, for parities i and j, kernel[2r + i, 2s + j].
    kernel = params["kernel"].reshape(2, 2, 2, 2, 3, 6)  # r, i, s, j, in, out
    same = {"Conv_0": {"kernel": kernel.transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, 3, 24)}}
    if use_bias:
        params["bias"] = same["bias"] = jnp.arange(6.0)
    y, wanted = ours.apply({"params": same}, x), theirs.apply({"params": params}, x)
    assert y.shape == (2, 2 * height, 2 * width, 6)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


def test_hash_stream_is_standardised_in_training():
    stream, features = HashStream(5, sharpness=3.0), 7 + 2 * jax.random.normal(KEY, (64, 9))
    variables = stream.init(KEY, features, train=False)
    logits, new = stream.apply(variables, features, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(logits.mean(0), np.zeros(5), atol=1e-4)
    np.testing.assert_allclose(logits.std(0), np.full(5, 3.0), rtol=1e-3)
    # In evaluation the running statistics stand: one image's code does not depend on the others.
    evaluated = stream.apply(new | {"params": variables["params"]}, features, train=False)
    alone = stream.apply(new | {"params": variables["params"]}, features[:1], train=False)
    np.testing.assert_allclose(evaluated[:1], alone, rtol=1e-5, atol=1e-5)


def test_hash_stream_without_sharpness_is_a_dense_layer():
    stream, features = HashStream(5, sharpness=0.0), jax.random.normal(KEY, (4, 9))
    variables = stream.init(KEY, features, train=True)
    assert set(variables) == {"params"}
    dense = variables["params"]["Dense_0"]
    logits = stream.apply(variables, features, train=True)
    np.testing.assert_allclose(logits, features @ dense["kernel"] + dense["bias"], rtol=1e-5)


def test_streams_have_their_shapes():
    features = jnp.zeros((3, 9))
    assert shapes(AdversaryStream(), features, train=False)[0].shape == (3,)
    assert shapes(AdversaryStream(spectral_norm=True), features, train=True)[0].shape == (3,)
    assert shapes(ClassificationStream(7), features, train=True)[0].shape == (3, 7)
    assert shapes(HashStream(5, 4.0), features, train=True)[0].shape == (3, 5)


@pytest.mark.parametrize("name", ["conv3", "alexnet", "wide_resnet"])
def test_bfloat16_is_for_the_networks_arithmetic_alone(name):
    net = network(name, norm="group", spectral_norm=True, dtype=jnp.dtype("bfloat16"))
    features, variables = shapes(net, images(8), train=True)
    assert features.dtype == jnp.bfloat16
    outputs = [
        shapes(HashStream(5, 4.0), features, train=True),
        shapes(AdversaryStream(True), features, train=True),
        shapes(ClassificationStream(7), features, train=True),
        shapes(Generator((16, 16, 1), 2, None, jnp.dtype("bfloat16")),
               jnp.zeros((2, 5)), jnp.zeros((2, 3)), train=True),
    ]  # fmt: skip
    assert [output.dtype for output, _ in outputs] == [jnp.float32] * 4
    leaves = jax.tree.leaves((variables, [v for _, v in outputs]))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
