"""Strong views: the warp against SciPy, colours by hand, and what every view must keep."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from dsh_jax.data.images import strong
from dsh_jax.data.images.strong import Strong

NOTHING = Strong(rotate=0.0, shear=0.0, scale=0.0, shift=0.0, colour=0.0, grey=0.0, negative=0.0,
                 cutout=0)  # fmt: skip
EVERYTHING = Strong(rotate=30.0, shear=0.3, scale=0.3, shift=0.15, colour=0.5, grey=0.3,
                    negative=0.3, cutout=3)  # fmt: skip


view = jax.jit(lambda strong, keys, images: strong(keys, images), static_argnums=0)
warp = jax.jit(strong.warp)


def but(**changes):
    return dataclasses.replace(NOTHING, **changes)


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


def random_images(n, height=8, width=6, channels=3):
    shape = (n, height, width, channels)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def by_scipy(image, matrix, shift):
    """The warp of one image, a channel at a time."""
    size = np.array(image.shape[:2])
    centre = (size - 1) / 2
    offset = centre - matrix @ centre + shift * size
    channels = [
        ndimage.affine_transform(image[..., c], matrix, offset, order=1, mode="nearest")
        for c in range(image.shape[2])
    ]
    return np.stack(channels, axis=-1)


@pytest.mark.parametrize(("height", "width", "channels"), [(8, 6, 3), (5, 9, 1)])
def test_warp_is_scipys(height, width, channels):
    images = random_images(6, height, width, channels)
    rng = np.random.default_rng(1)
    matrices = np.eye(2) + rng.uniform(-0.6, 0.6, (6, 2, 2))
    shifts = rng.uniform(-0.2, 0.2, (6, 2))
    warped = warp(images, jnp.float32(matrices), jnp.float32(shifts))
    wanted = [by_scipy(*one) for one in zip(images, matrices, shifts, strict=True)]
    np.testing.assert_allclose(warped, wanted, atol=1e-4)


def test_warp_by_hand():
    image = jnp.arange(12.0).reshape(1, 3, 4, 1)
    eye, still = jnp.eye(2)[None], jnp.zeros((1, 2))
    np.testing.assert_array_equal(warp(image, eye, still), image)
    # A third of three rows is one row: each row is the next one's, and the last one stays.
    moved = warp(image, eye, jnp.array([[1 / 3, 0.0]]))
    np.testing.assert_allclose(moved[0, :, :, 0], image[0, [1, 2, 2], :, 0], atol=1e-5)
    upside_down = warp(image, -eye, still)
    np.testing.assert_allclose(upside_down, image[:, ::-1, ::-1], atol=1e-5)


def test_without_any_strength_a_view_is_the_image():
    images = random_images(4)
    np.testing.assert_allclose(view(NOTHING, keys(4), images), images, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_views_are_images_and_depend_on_their_own_key_alone(channels):
    images, own = jnp.asarray(random_images(8, channels=channels)), keys(8)
    together = np.asarray(view(EVERYTHING, own, images))
    assert together.shape == images.shape and together.dtype == np.float32
    assert np.abs(together).max() <= 1 and not np.allclose(together, images, atol=0.1)
    np.testing.assert_array_equal(together, view(EVERYTHING, own, images))
    alone = np.concatenate([view(EVERYTHING, own[i : i + 1], images[i : i + 1]) for i in range(8)])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert not np.array_equal(together, view(EVERYTHING, keys(8, seed=1), images))
    # The same image under eight keys has eight views.
    views = view(EVERYTHING, own, jnp.stack([images[0]] * 8))
    assert len({np.asarray(v).tobytes() for v in views}) == 8


def test_every_strength_does_something_alone():
    most = {"rotate": 180.0, "shear": 0.9, "scale": 0.7, "shift": 0.5, "colour": 0.9, "grey": 1.0,
            "negative": 1.0, "cutout": 4}  # fmt: skip
    assert most.keys() == Strong.__dataclass_fields__.keys()
    alone = [but(**{name: value}) for name, value in most.items()]
    images = random_images(4)
    views = jax.jit(lambda k, x: jnp.stack([one(k, x) for one in alone]))(keys(4), images)
    for name, one in zip(most, np.asarray(views), strict=True):
        assert not np.allclose(one, images, atol=0.05), name


def test_grey_and_negative_by_hand():
    images = random_images(4)
    grey = np.asarray(view(but(grey=1.0), keys(4), images))
    np.testing.assert_allclose(grey, np.repeat(images.mean(-1, keepdims=True), 3, -1), atol=1e-6)
    negative = view(but(negative=1.0), keys(4), images)
    np.testing.assert_allclose(negative, -images, atol=1e-6)
    # Each with its probability: of 400 a share of 0.3 has the standard deviation 0.023.
    some = view(but(negative=0.3), keys(400), np.ones((400, 2, 2, 1), np.float32))
    assert np.mean(some == -1) == pytest.approx(0.3, abs=0.1)


def test_colours_change_linearly_within_a_channel():
    # Brightness, contrast and saturation keep every image an affine function of what it was.
    images = 0.3 * random_images(5, channels=1)
    views = np.asarray(view(but(colour=0.4), keys(5), images))
    for one, other in zip(images, views, strict=True):
        slope, offset = np.polyfit(one.ravel(), other.ravel(), 1)
        np.testing.assert_allclose(other, slope * one + offset, atol=1e-5)
        assert 0.6 <= slope <= 1.4 and abs(other.mean() - one.mean()) <= 0.4
