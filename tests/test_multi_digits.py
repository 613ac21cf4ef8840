"""Images of several digits: what is on them, what their labels say, and that they stay the same."""

import hashlib

import numpy as np
import pytest

from dsh_jax.data.images import built_in as sources
from dsh_jax.data.images import multi_digits
from dsh_jax.data.images.dataset import ImageDataset


@pytest.fixture(scope="module")
def dataset():
    return sources.load("multi_digits")


def plain_digits(side=8):
    """Ten digits a class, each a square of one grey that is its own: 1 to 100."""
    grey = np.arange(1, 101, dtype=np.uint8)
    return ImageDataset(
        name="plain",
        version="1",
        images=np.broadcast_to(grey[:, None, None, None], (100, side, side, 1)).copy(),
        labels=np.arange(100, dtype=np.int32) % 10,
        is_test=np.zeros(100, bool),
        class_names=tuple("0123456789"),
    )


@pytest.fixture(scope="module")
def plain():
    return multi_digits.compose(plain_digits(), version="7")


def test_shape_and_names(dataset):
    assert dataset.images.shape == (7000, 16, 16, 1) and dataset.images.dtype == np.uint8
    assert dataset.labels.shape == (7000, 10) and dataset.labels.dtype == np.uint8
    assert dataset.multi_label
    assert not dataset.is_test[:6000].any() and dataset.is_test[6000:].all()
    assert (dataset.name, dataset.version) == ("multi_digits", "1")
    assert dataset.class_names == tuple("0123456789")


def test_it_has_not_changed(dataset):
    """Other images under the same version would make old scores incomparable."""
    for array, digest in (
        (dataset.images, "946ca3c2062a6c2f18306f699cdc2e226b165c21a5ca5e8967d77882ccb762c3"),
        (dataset.labels, "3fa5cb0e410ce546f3ce6f0e4085c2640ea9aa048d9f488d75bd2505c817d2d8"),
    ):
        assert hashlib.sha256(array.tobytes()).hexdigest() == digest


def test_labels_are_the_digits_that_are_there(plain):
    # A grey g is digit number g - 1, of class (g - 1) % 10; a square covers no other entirely.
    for image, label in zip(plain.images, plain.labels, strict=True):
        greys = np.unique(image[image > 0]).astype(int)
        assert sorted((greys - 1) % 10) == np.flatnonzero(label).tolist()
        assert 2 <= len(greys) <= 4


def test_no_digit_is_in_both_parts(plain):
    parts = ~plain.is_test, plain.is_test
    train, test = (set(plain.images[part].ravel()) - {0} for part in parts)
    assert not train & test
    assert train | test == set(range(1, 101))
    assert len(test) == 20


def test_digits_stay_in_their_cells(plain):
    """Moved by a pixel at most; of the 7x7 pixels or more in a cell, neighbours may hide some."""
    for image in plain.images[::7, :, :, 0]:
        cells = image.reshape(2, 8, 2, 8).swapaxes(1, 2).reshape(4, 64)
        seen = [np.bincount(cell, minlength=101)[1:] for cell in cells]
        homes = [int(np.argmax(cell)) for cell in seen if cell.max() >= 36]
        assert sorted(homes) == sorted(np.unique(image[image > 0]) - 1)


def test_cells_numbers_and_digits_are_even(dataset):
    counts = dataset.labels.sum(axis=1)
    assert set(counts) == {2, 3, 4}
    # 7000 draws: 5 standard deviations of a share of 1/3 are 0.028.
    np.testing.assert_allclose([(counts == k).mean() for k in (2, 3, 4)], 1 / 3, atol=0.028)
    np.testing.assert_allclose(dataset.labels.mean(axis=0), 0.3, atol=0.028)
    # The middle of a cell is never empty where there is a digit, nor reached by a neighbour.
    used = dataset.images.reshape(-1, 2, 8, 2, 8)[:, :, 2:6, :, 2:6].any(axis=(2, 4))
    np.testing.assert_allclose(used.mean(axis=0), 0.75, atol=0.03)
    assert (used.sum(axis=(1, 2)) == counts).all()


def test_digits_are_the_real_ones(dataset):
    """On a diagonal, with nothing beside it, a digit is there whole."""
    digits = {image.tobytes() for image in sources.load("digits").images}
    found = 0
    for image, label in zip(dataset.images[..., 0], dataset.labels, strict=True):
        diagonal = label.sum() == 2 and not image[:6, 10:].any() and not image[10:, :6].any()
        if diagonal:
            corners = [(i, j) for i in (0, 1) for j in (0, 1)]
            found += any(
                np.ascontiguousarray(image[i : i + 8, j : j + 8]).tobytes() in digits
                for i, j in corners
            )
    assert found > 100


def test_other_digits_give_images_of_their_size():
    made = multi_digits.compose(plain_digits(side=5), version="7")
    assert made.images.shape[1:] == (10, 10, 1)
    assert (made.name, made.version) == ("multi_plain", "7")


def test_two_calls_agree(dataset):
    assert np.array_equal(sources.load("multi_digits").images, dataset.images)
