"""Dense networks for vectors, written out in NumPy; their views; and kinds of items."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsh_jax.data.signature import Signature
from dsh_jax.data.vectors.augment import disturb
from dsh_jax.data.vectors.inputs import VectorInputs
from dsh_jax.methods.kinds import VECTORS, kind_of
from dsh_jax.networks.mlp import Mlp, VectorGenerator

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 5)).astype(np.float32)


def outputs(network, x=X, train=False):
    variables = network.init(jax.random.key(0), x, train=False)
    found, _ = network.apply(variables, x, train=train, mutable=["batch_stats"],
                             rngs={"dropout": jax.random.key(1)})  # fmt: skip
    params = [leaf for _, leaf in sorted(variables.get("params", {}).items())]
    return np.asarray(found), params


def test_no_layers_give_the_vectors_back():
    found, params = outputs(Mlp(0, 7))
    np.testing.assert_array_equal(found, X)
    assert params == []


def test_layers_are_dense_and_rectified():
    found, (first, second) = outputs(Mlp(2, 7))
    hidden = np.maximum(X @ first["kernel"] + first["bias"], 0)
    wanted = np.maximum(hidden @ second["kernel"] + second["bias"], 0)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("norm", "axis"), [("batch", 0), ("layer", 1)])
def test_norms_are_over_the_batch_or_the_layer(norm, axis):
    found, params = outputs(Mlp(1, 7, norm=norm), train=True)
    (dense,) = [layer for layer in params if "kernel" in layer]
    inner = X @ dense["kernel"]
    centred = inner - inner.mean(axis, keepdims=True)
    wanted = np.maximum(centred / np.sqrt(inner.var(axis, keepdims=True) + 1e-6), 0)
    np.testing.assert_allclose(found, wanted, rtol=1e-2, atol=1e-2)
    assert ("bias" in dense) == (norm == "layer")


def test_dropout_is_of_training_alone():
    network = Mlp(1, 200, dropout=0.5)
    quiet, _ = outputs(network)
    noisy, _ = outputs(network, train=True)
    share = np.mean(noisy[quiet > 0] == 0)
    assert 0.4 < share < 0.6


def test_drawn_vectors_differ_by_class_and_lie_on_the_sphere():
    z, label = jnp.asarray(X), jnp.eye(3)[jnp.array([0, 1, 2, 0, 1, 2])]
    for on_sphere in (True, False):
        generator = VectorGenerator((9,), 16, on_sphere=on_sphere)
        variables = generator.init(jax.random.key(0), z, label, train=False)
        drawn = np.asarray(generator.apply(variables, z, label, train=False))
        assert drawn.shape == (6, 9) and drawn.dtype == np.float32
        other = generator.apply(variables, z, jnp.roll(label, 1, axis=1), train=False)
        assert not np.allclose(drawn, other)
        lengths = np.linalg.norm(drawn, axis=1)
        assert np.allclose(lengths, 3.0, rtol=1e-4) == on_sphere


def test_views_by_their_noise_and_gaps():
    keys = jax.random.split(jax.random.key(0), 4)
    x = jnp.asarray(RNG.standard_normal((4, 4000)) * [[1], [10], [0.1], [0]], jnp.float32)
    assert disturb(keys, x, noise=0.0, drop=0.0) is x
    noisy = np.asarray(disturb(keys, x, noise=0.5, drop=0.0) - x)
    np.testing.assert_allclose(noisy.std(axis=1), [0.5, 5, 0.05, 0], rtol=0.05, atol=1e-5)
    gaps = np.asarray(disturb(keys, x, noise=0.0, drop=0.25))[:3]
    kept = gaps != 0
    np.testing.assert_allclose(kept.mean(axis=1), 0.75, atol=0.03)
    np.testing.assert_allclose(gaps[kept], np.asarray(x[:3])[kept] / 0.75, rtol=1e-6)


def test_networks_see_normalised_vectors_with_entries_of_about_1():
    for normalise, scale in (("l2", 2.0), ("none", 1.0)):
        signature = Signature(VectorInputs(4, normalise), "single", ("a", "b"))
        assert kind_of(signature) is VECTORS
        np.testing.assert_allclose(VECTORS.to_float(signature)(X), scale * X)
    renamed = VECTORS.as_images({"vector": 1, "positive_vector": 2, "label": 3})
    assert renamed == {"image": 1, "positive_image": 2, "label": 3}
