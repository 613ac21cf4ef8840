"""The network 'whitened': its fixed layer against loops, and its two kinds of statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file
from signatures import build_for_images

from configs import cnnh_plus_digits_16bit, smoke
from dsh_jax.data.images.augment import to_float
from dsh_jax.data.images.built_in import load
from dsh_jax.data.splits.split import load as load_split
from dsh_jax.devices import AXIS
from dsh_jax.encoder import load_encoder
from dsh_jax.methods import preparation
from dsh_jax.networks.whitened import (
    WhitenedCnn,
    Whitening,
    fit,
    identity_init,
    whitening_kernel,
)
from dsh_jax.training.loop import train
from tests.small_dsh_gan import (
    assert_every_leaf_moved,
    assert_near,
    assert_same,
    build,
    steps_of,
)

KEY = jax.random.key(0)
SMALL = {"representation__name": "whitened", "representation__features": 0,
         "representation__width": 2, "hash_stream__sharpness": 0.0}  # fmt: skip


def smooth_images(n=40, size=8, channels=3):
    """Images whose pixels hang together."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, size, size, channels)).cumsum(1).cumsum(2) / size
    return np.float32(np.tanh(x + rng.normal(size=(n, 1, 1, channels))))


def patches(images):
    """All 2x2 patches, one by one."""
    _, height, width, _ = images.shape
    return np.array([image[i : i + 2, j : j + 2].ravel() for image in images
                     for i in range(height - 1) for j in range(width - 1)])  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
def test_the_kernel_whitens_patches(channels):
    images = smooth_images(channels=channels)
    kernel, inputs = whitening_kernel(images), 4 * channels
    assert kernel.shape == (2, 2, channels, 2 * inputs) and kernel.dtype == np.float32
    filters = kernel.reshape(inputs, 2 * inputs)
    np.testing.assert_array_equal(filters[:, inputs:], -filters[:, :inputs])
    found = patches(images) @ filters[:, :inputs]
    variance = found.T @ found / len(found)
    # Nearly 1: the eigenvalues have 0.0005 added before they are divided by.
    np.testing.assert_allclose(variance, np.diag(np.diag(variance)), atol=1e-3)
    assert 0.5 < np.diag(variance).min() and np.diag(variance).max() < 1 + 1e-3
    strength = np.linalg.norm(filters[:, :inputs], axis=0)
    assert (np.diff(strength) >= 0).all()  # the strongest direction is divided by most


def test_the_layer_is_the_kernel_on_every_patch():
    images = smooth_images(3, 5)
    variables = {"batch_stats": fit({}, images)["whitening"]}
    output, new = Whitening().apply(variables, images, mutable=["batch_stats"])
    filters = whitening_kernel(images).reshape(12, 24)
    np.testing.assert_allclose(output.reshape(-1, 24), patches(images) @ filters, atol=1e-4)
    assert_same(new, variables)


def test_patches_of_large_images_lie_side_by_side_and_lose_nothing():
    images = smooth_images(2, 64)
    variables = {"batch_stats": fit({}, images)["whitening"]}
    output = np.asarray(Whitening().apply(variables, images))
    assert output.shape == (2, 32, 32, 24)
    filters = whitening_kernel(images).reshape(12, 24)
    tiles = output.reshape(-1, 24) @ np.linalg.pinv(filters)
    again = tiles.reshape(2, 32, 32, 2, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(images.shape)
    np.testing.assert_allclose(again, images, atol=1e-3)


def test_a_convolution_begins_as_a_copy():
    kernel = identity_init(KEY, (3, 3, 2, 5), jnp.float32)
    wanted = np.zeros((3, 3, 2, 2))
    wanted[1, 1] = np.eye(2)
    np.testing.assert_array_equal(kernel[..., :2], wanted)
    assert (kernel[..., 2:] != 0).all()


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (32, 3), (64, 3), (2, 1)])
@pytest.mark.parametrize("train", [True, False])
def test_features_have_four_widths(size, channels, train):
    images = jax.ShapeDtypeStruct((2, size, size, channels), jnp.float32)
    network = WhitenedCnn(8, dtype=jnp.bfloat16)
    variables = jax.eval_shape(lambda x: network.init(KEY, x, train=False), images)
    features, new = jax.eval_shape(
        lambda v, x: network.apply(v, x, train=train, mutable=["batch_stats"]), variables, images
    )
    assert features.shape == (2, 32)
    shape = (2, 2, channels, 8 * channels)
    assert new["batch_stats"]["whitening"]["kernel"].shape == shape
    assert "whitening" not in variables["params"]


class Images:
    """A data set, as far as it is read here."""

    def __init__(self, images):
        self.images, self.read = images, []

    def take(self, ids):
        self.read.append(ids)
        return {"image": self.images[ids]}


def test_prepare_fits_the_kernel_and_nothing_else(monkeypatch):
    monkeypatch.setattr(preparation, "WHITENED_IMAGES", 10)
    rng = np.random.default_rng(0)
    dataset = Images(rng.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8))
    method = build(**SMALL, ema_decay=0.5)
    state = jax.jit(method.init)(KEY)
    after = method.prepare(state, dataset, np.arange(5, 50))
    (ids,) = dataset.read
    assert ids.tolist() == [5, 10, 15, 20, 25, 30, 35, 40, 45]  # from all over the training items
    wanted = whitening_kernel(np.asarray(to_float(jnp.asarray(dataset.images[ids]))))
    for stats in (after.batch_stats["representation"],
                  after.ema["representation"]["batch_stats"]):  # fmt: skip
        np.testing.assert_array_equal(stats["whitening"]["kernel"], wanted)
        other = {"whitening": state.batch_stats["representation"]["whitening"]}
        assert_same(stats | other, state.batch_stats["representation"])
    assert_same(after.params, state.params)
    assert_same(after.ema["hash"], state.ema["hash"])


def test_prepare_changes_nothing_for_other_networks():
    method = build()
    state, dataset = jax.jit(method.init)(KEY), Images(None)
    assert method.prepare(state, dataset, np.arange(5)) is state and not dataset.read


@pytest.fixture(scope="module")
def apart():
    """`represent_apart` of the whitened network on one device, compiled, and a state."""
    method = build(**SMALL)
    players, state = steps_of(method).players, jax.jit(method.init)(KEY)

    def features(real, synthetic):
        def on_device(real, synthetic):
            return players.represent_apart(
                state, state.params["representation"],
                [(real[:3], True), (synthetic, False), (real[3:], True)], key=KEY,
            )  # fmt: skip

        run = jax.vmap(on_device, axis_name=AXIS)
        features, stats = jax.tree.map(lambda x: x[0], run(real[None], synthetic[None]))
        return jnp.split(features, [3, 7]), stats["representation"]

    return jax.jit(features), state.batch_stats["representation"]


def test_real_and_synthetic_images_have_statistics_of_their_own(apart):
    features, before = apart
    real, synthetic = smooth_images(10, channels=1)[:6], smooth_images(10, channels=1)[6:]
    (first, drawn, rest), stats = features(real, synthetic)
    assert [len(part) for part in (first, drawn, rest)] == [3, 4, 3]
    (same, others, again), same_stats = features(real, 0.1 * synthetic - 0.5)
    np.testing.assert_array_equal(first, same)
    np.testing.assert_array_equal(rest, again)
    assert not np.allclose(drawn, others)
    # The running statistics have moved, by the real images alone.
    assert_same(same_stats, stats)
    moved = {name: value for name, value in stats.items() if name != "whitening"}
    assert_every_leaf_moved(moved, before)
    # Real images are normalised together, wherever they stand.
    (last, _, _), _ = features(real[::-1], synthetic)
    np.testing.assert_allclose(last[::-1], rest, rtol=1e-4, atol=1e-5)
    # And synthetic images among themselves.
    (_, lone, _), _ = features(0.5 * real, synthetic)
    np.testing.assert_array_equal(lone, drawn)


def test_networks_without_batch_statistics_pass_all_images_at_once():
    method = build()
    players, state = steps_of(method).players, jax.jit(method.init)(KEY)
    assert not players.batch_norm
    images = smooth_images(6, channels=1)

    def on_device(synthetic, real):
        parts = [(synthetic, False), (real, True)]
        return players.represent_apart(state, state.params["representation"], parts, key=KEY)

    run = jax.jit(jax.vmap(on_device, axis_name=AXIS))
    features, stats = run(images[None, :4], images[None, 4:])
    whole = players.networks["representation"].apply(
        {"params": state.params["representation"]}, images, train=False
    )
    assert_near(np.asarray(features[0]), np.asarray(whole))
    assert not stats


def test_cnnh_trains_and_its_encoder_keeps_the_kernel(tmp_path):
    config = smoke.shrink(cnnh_plus_digits_16bit.get_config())
    config.update(num_steps=3, eval_every_steps=3, ema_decay=0.5)
    config.representation.update(name="whitened", width=4, features=0, dropout=0.0)
    state = train(config, tmp_path, {})
    images = load("digits").images
    labeled = load_split(tmp_path / "split.json").labeled
    wanted = whitening_kernel(np.asarray(to_float(jnp.asarray(images[labeled]))))
    encoder = load_encoder(tmp_path)
    encoder.save(tmp_path / "encoder.safetensors")
    saved = load_file(tmp_path / "encoder.safetensors")
    (name,) = [name for name in saved if "whitening" in name]
    for kernel in (saved[name], state.batch_stats["representation"]["whitening"]["kernel"]):
        np.testing.assert_array_equal(kernel, wanted)
    method = build_for_images(config, (8, 8, 1), 10)
    codes = jax.jit(method.encode)(state, {"image": images[:9]})
    np.testing.assert_allclose(encoder.relaxed(images[:9]), codes, rtol=1e-4, atol=1e-5)
    again = load_encoder(tmp_path / "encoder.safetensors")
    np.testing.assert_array_equal(again.relaxed(images[:9]), encoder.relaxed(images[:9]))
