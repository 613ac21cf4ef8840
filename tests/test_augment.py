"""Augmentation against every crop and flip that there is, one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsh_jax.data.images import augment as module
from dsh_jax.data.images.augment import to_float

augment = jax.jit(module.augment, static_argnames=("crop_padding", "flip", "cutout"))
cut_out = jax.jit(module.cut_out, static_argnames="size")


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


def random_images(n, height=6, width=5, channels=2, seed=0):
    shape = (n, height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def possible(image, padding, flip):
    """(row, column, flipped) -> the image so cropped and flipped."""
    height, width, _ = image.shape
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode="reflect")
    return {
        (row, column, flipped): window[:, ::-1] if flipped else window
        for row in range(2 * padding + 1)
        for column in range(2 * padding + 1)
        for window in [padded[row : row + height, column : column + width]]
        for flipped in ((False, True) if flip else (False,))
    }


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 3])
def test_every_image_is_one_of_its_crops_and_flips(padding, flip):
    images = random_images(20)
    result = augment(keys(20), jnp.asarray(images), crop_padding=padding, flip=flip)
    assert result.shape == images.shape and result.dtype == images.dtype
    for image, augmented in zip(images, np.asarray(result), strict=True):
        crops = possible(image, padding, flip).values()
        assert any(np.array_equal(augmented, crop) for crop in crops)


def test_every_crop_and_flip_is_drawn_equally_often():
    n, image = 3600, random_images(1)[0]
    result = augment(keys(n), jnp.asarray(np.stack([image] * n)), crop_padding=1, flip=True)
    options = {v.tobytes(): k for k, v in possible(image, 1, True).items()}
    drawn = [options[r.tobytes()] for r in np.asarray(result)]
    counts = np.array([drawn.count(option) for option in options.values()])
    # 18 options of 200 each in the mean, standard deviation 14.
    assert len(counts) == 18 and counts.min() > 130 and counts.max() < 270


def test_without_crop_and_flip_nothing_changes():
    images = random_images(3)
    result = augment(keys(3), jnp.asarray(images), crop_padding=0, flip=False)
    np.testing.assert_array_equal(result, images)


def test_an_image_depends_on_its_own_key_alone():
    images, own = jnp.asarray(random_images(8)), keys(8)
    together = augment(own, images, crop_padding=2, flip=True)
    parts = [augment(own[i : i + 2], images[i : i + 2], crop_padding=2, flip=True)
             for i in (0, 2, 4, 6)]  # fmt: skip
    np.testing.assert_array_equal(together, jnp.concatenate(parts))
    same = augment(own[jnp.zeros(8, int)], images[jnp.zeros(8, int)], crop_padding=2, flip=True)
    np.testing.assert_array_equal(same, np.broadcast_to(same[0], same.shape))
    other = augment(keys(8, seed=1), images, crop_padding=2, flip=True)
    assert not np.array_equal(together, other)


def test_to_float_by_hand():
    # 51 / 127.5 - 1 = 0.4 - 1
    result = to_float(jnp.array([0, 51, 255], jnp.uint8))
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, [-1, -0.6, 1], rtol=1e-6)


def holes(images, size):
    """Masks of the pixels that a cutout of images without zeros has set to 0."""
    cut = np.asarray(cut_out(keys(len(images)), jnp.asarray(images), size=size))
    is_hole = (cut == 0).all(-1)
    np.testing.assert_array_equal(np.where(is_hole[..., None], images, cut), images)
    return is_hole


@pytest.mark.parametrize("size", [1, 2, 3, 12])
def test_a_hole_is_a_square_whose_centre_is_in_the_image(size):
    images = np.random.default_rng(0).uniform(0.1, 1, (200, 6, 5, 2)).astype(np.float32)
    wanted = set()
    for row in range(6):
        for column in range(5):
            mask = np.zeros((6, 5), bool)
            top, left = row - size // 2, column - size // 2
            mask[max(0, top) : top + size, max(0, left) : left + size] = True
            wanted.add(mask.tobytes())
    seen = {mask.tobytes() for mask in holes(images, size)}
    assert seen <= wanted and len(seen) > 0.9 * len(wanted)


def test_a_hole_comes_after_crop_and_flip():
    images = jnp.asarray(random_images(6)).astype(jnp.float32) + 1
    options = {"crop_padding": 2, "flip": True}
    whole = augment(keys(6), images, **options)
    cut = augment(keys(6), images, **options, cutout=2)
    kept = cut != 0
    np.testing.assert_array_equal(np.where(kept, whole, 0), cut)
    assert 0 < np.sum(~kept) <= 6 * 2 * 4
