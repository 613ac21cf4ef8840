"""The adversary stream that sees the class as well."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsh_jax.networks.streams import AdversaryStream
from tests.small_dsh_gan import (
    MULTI_HOT,
    NUM_CLASSES,
    build,
    compiled,
    make_batch,
    method_and_state,
)

KEY = jax.random.key(0)


def stream(spectral_norm):
    adversary, features = AdversaryStream(spectral_norm, 3), jax.random.normal(KEY, (8, 5))
    init = jax.jit(lambda k: adversary.init(k, features, train=False))
    return adversary, features, init(KEY)


def test_the_logit_by_its_definition():
    adversary, features, variables = stream(False)
    logit, embedding = variables["params"]["Dense_0"], variables["params"]["Dense_1"]
    assert set(embedding) == {"kernel"}
    plain = np.asarray(features @ logit["kernel"] + logit["bias"])[:, 0]
    classes = [[c for c in range(3) if row[c]] for row in MULTI_HOT]
    wanted = [
        plain[i] + sum(np.dot(features[i], embedding["kernel"][:, c]) for c in classes[i])
        for i in range(8)
    ]
    np.testing.assert_allclose(
        adversary.apply(variables, features, MULTI_HOT, train=False), wanted, rtol=1e-4, atol=1e-5
    )
    for unknown in (None, jnp.zeros((8, 3))):
        found = adversary.apply(variables, features, unknown, train=False)
        np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-6)


def test_the_embedding_has_spectral_norm_one():
    adversary, features, variables = stream(True)
    step = jax.jit(
        lambda v: adversary.apply(v, features, MULTI_HOT, train=True, mutable=["batch_stats"])[1]
    )
    for _ in range(50):
        variables = variables | step(variables)
    one_hot = np.eye(3, dtype=np.float32)
    rows = np.stack([
        adversary.apply(variables, jnp.eye(5), jnp.tile(one_hot[c], (5, 1)), train=False)
        - adversary.apply(variables, jnp.eye(5), None, train=False)
        for c in range(3)
    ])  # fmt: skip
    assert np.linalg.svd(rows, compute_uv=False)[0] == pytest.approx(1, abs=1e-3)


def test_an_embedding_of_every_class_is_learned():
    method = build(adversary__projection=True)
    state = jax.tree.map(np.asarray, jax.jit(method.init)(jax.random.key(1)))
    adversary = state.params["adversary"]
    adversary["Dense_1"]["kernel"] = np.zeros_like(adversary["Dense_1"]["kernel"])
    after, _ = compiled(method.stages[0].step)(state, make_batch())
    moved = after.params["adversary"]["Dense_1"]["kernel"] != 0
    assert moved.shape[1] == NUM_CLASSES and moved.any(axis=0).all()


def test_a_stream_without_projection_has_one_layer():
    assert set(method_and_state()[1].params["adversary"]) == {"Dense_0"}
