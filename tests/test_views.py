"""Random resized crops and colours, against Pillow and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dsh_jax.data.images.augment import augment
from dsh_jax.data.images.views import _interpolation, recolour, resized_crop

KEYS = jax.random.split(jax.random.key(0), 200)


@pytest.mark.parametrize(("share", "place"), [(0.5, 0.0), (0.7, 0.3), (1.0, 0.0), (0.25, 1.0)])
def test_a_crop_is_that_of_pillow(share, place):
    side = np.random.default_rng(0).normal(size=(1, 12)).astype(np.float32)
    first = place * (1 - share) * 12
    wanted = Image.fromarray(side).transform(
        (12, 1), Image.Transform.EXTENT, (first, 0, first + share * 12, 1),
        Image.Resampling.BILINEAR,
    )  # fmt: skip
    found = side[0] @ np.asarray(_interpolation(12, share, place)).T
    # Pillow leaves out pixels whose place is beyond the centre of the last one.
    inside = slice(1, -1)
    np.testing.assert_allclose(found[inside], np.asarray(wanted)[0][inside], atol=1e-4)


def test_crops_have_the_area_that_is_asked_for():
    # Of a picture of its own coordinates, the corners of a crop say where it was.
    rows, columns = np.mgrid[:33, :33] / 32
    picture = np.stack([rows, columns], axis=-1).astype(np.float32)
    images = np.tile(picture[None], (200, 1, 1, 1))
    crops = np.asarray(resized_crop(KEYS, images, least_area=0.3))
    sides = crops[:, -1, -1] - crops[:, 0, 0]
    areas = sides[:, 0] * sides[:, 1]
    assert 0.25 < areas.min() < 0.35 and areas.max() < 1.01 and 0.5 < areas.mean() < 0.75
    ratios = sides[:, 0] / sides[:, 1]
    assert 0.7 < ratios.min() < 0.85 and 1.2 < ratios.max() < 1.4
    assert crops.min() >= 0 and crops.max() <= 1


def test_colours_stay_in_range_and_grey_stays_grey():
    images = np.random.default_rng(0).uniform(-1, 1, (200, 4, 4, 3)).astype(np.float32)
    found = np.asarray(recolour(KEYS, images, most=0.4))
    assert found.shape == images.shape and np.abs(found).max() <= 1
    assert np.abs(found - images).mean() > 0.05
    grey = np.asarray(recolour(KEYS, np.repeat(images[..., :1], 3, axis=-1), most=0.4))
    np.testing.assert_allclose(grey[..., 0], grey[..., 2], atol=1e-6)
    np.testing.assert_allclose(recolour(KEYS, images, most=0.0), images, atol=1e-6)


def test_both_are_switches_of_the_augmentation():
    images = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (200, 8, 8, 3)), jnp.float32)
    plain = augment(KEYS, images, crop_padding=0, flip=False)
    np.testing.assert_array_equal(plain, images)
    both = augment(KEYS, images, crop_padding=0, flip=False, least_area=0.5, colour=0.2)
    wanted = recolour(KEYS, resized_crop(KEYS, images, least_area=0.5), most=0.2)
    np.testing.assert_array_equal(both, wanted)
