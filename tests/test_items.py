"""New items are prepared as the training images were, to the last bit."""

import numpy as np
import pytest
from image_files import random_pixels, write_folder
from PIL import Image

from dsh_jax.data.images.cache import cached_images
from dsh_jax.data.images.dataset import load_images
from dsh_jax.data.images.listing import list_images
from dsh_jax.data.items import prepare_batches
from dsh_jax.data.signature import ImageInputs


def prepared(items, inputs, batch_size=4, multiple_of=1):
    batches = prepare_batches(
        items, inputs, batch_size, multiple_of=multiple_of, progress=False
    )
    return list(batches)


# Up to 64 pixels a cache keeps pixels, above it keeps JPEG.
@pytest.mark.parametrize("size", [8, 24, 80])
def test_files_become_the_pixels_that_training_saw(tmp_path, size):
    folder = write_folder(tmp_path / "images", random_pixels(7))
    rng = np.random.default_rng(0)
    for row in range(3):  # photographs of other shapes
        pixels = rng.integers(0, 256, (130 + row, 90, 3), np.uint8)
        Image.fromarray(pixels).save(next(folder.iterdir()) / f"large{row}.jpg", quality=90)
    listing = list_images(folder)
    assert cached_images(listing, size=size, cache=tmp_path / "cache").jpeg_quality == (
        95 if size > 64 else 0
    )
    dataset = load_images(
        listing, name="x", size=size, cache=tmp_path / "cache", memory_limit_gb=1.0
    )
    batches = prepared(listing.paths, dataset.inputs)
    rows = np.concatenate([batch.inputs["image"][: len(batch.positions)] for batch in batches])
    np.testing.assert_array_equal(rows, dataset.images)


def test_batches_have_few_sizes_and_repeat_the_last_item():
    inputs = ImageInputs(4, 4, 1)
    images = np.arange(7 * 16, dtype=np.uint8).reshape(7, 4, 4, 1)
    first, last = prepared(images, inputs)
    np.testing.assert_array_equal(first.inputs["image"], images[:4])
    np.testing.assert_array_equal(last.inputs["image"], images[[4, 5, 6, 6]])
    np.testing.assert_array_equal(last.positions, [4, 5, 6])
    (only,) = prepared(images[:1], inputs, multiple_of=3)
    np.testing.assert_array_equal(only.inputs["image"], images[[0, 0, 0]])


def test_grey_images_of_colour_and_the_other_way_round(tmp_path):
    Image.fromarray(np.full((4, 4, 3), (255, 0, 0), np.uint8)).save(tmp_path / "red.png")
    Image.fromarray(np.full((4, 4), 99, np.uint8)).save(tmp_path / "grey.png")
    paths = [tmp_path / "red.png", tmp_path / "grey.png"]
    (grey,) = prepared(paths, ImageInputs(4, 4, 1))
    assert grey.inputs["image"].reshape(2, -1).tolist() == [[76] * 16, [99] * 16]
    (colour,) = prepared(paths, ImageInputs(4, 4, 3))
    assert (colour.inputs["image"][1] == 99).all()
