"""Images with several labels, without a download: real handwritten digits side by side.

An image holds 2 to 4 different digits, each in its own cell of a 2x2 grid, shifted by up to a
pixel; its labels are the set of these digits, regardless of their cells. Train and test images are
composed from different handwritten digits.
"""

import numpy as np

from dsh_jax.data.images.dataset import ImageDataset
from dsh_jax.rng import stream_rng

NUM_TRAIN, NUM_TEST = 6000, 1000
FEWEST, MOST = 2, 4
JITTER = 1
TEST_SHARE = 0.2
_SEED = 0


def compose(digits: ImageDataset, *, version: str) -> ImageDataset:
    """Composes images of several digits; every call returns the same images.

    Args:
      digits: images of single digits `[n, side, side, channels]`, labeled by class ids; at least
        `MOST` classes, each with at least two items.
      version: of the result.

    Returns:
      uint8 `[NUM_TRAIN + NUM_TEST, 2 * side, 2 * side, channels]`, the train items first, labeled
      by uint8 `[n, classes]`.
    """
    train_pool, test_pool = _pools(digits)
    train = _compose(digits, train_pool, NUM_TRAIN, stream_rng(_SEED, "multi_digits/train", 0))
    test = _compose(digits, test_pool, NUM_TEST, stream_rng(_SEED, "multi_digits/test", 0))
    return ImageDataset(
        name=f"multi_{digits.name}",
        version=version,
        images=np.concatenate([train[0], test[0]]),
        labels=np.concatenate([train[1], test[1]]),
        is_test=np.arange(NUM_TRAIN + NUM_TEST) >= NUM_TRAIN,
        class_names=digits.class_names,
    )


def _pools(digits: ImageDataset) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The digits' ids per class, for train images and for test images."""
    train, test = [], []
    for label in range(len(digits.class_names)):
        ids = np.flatnonzero(digits.labels == label)
        shuffled = stream_rng(_SEED, "multi_digits/pools", label).permutation(ids)
        num_test = max(1, round(TEST_SHARE * len(ids)))
        test.append(shuffled[:num_test])
        train.append(shuffled[num_test:])
    return train, test


def _compose(
    digits: ImageDataset, pool: list[np.ndarray], count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels: a uniform number of digits, then a uniform set of that many digits."""
    side = digits.images.shape[1]
    images = np.zeros((count, 2 * side, 2 * side, digits.images.shape[3]), np.uint8)
    labels = np.zeros((count, len(pool)), np.uint8)
    for image, label in zip(images, labels, strict=True):
        chosen = rng.permutation(len(pool))[: rng.integers(FEWEST, MOST + 1)]
        label[chosen] = 1
        for digit, cell in zip(chosen, rng.permutation(4), strict=False):
            corner = side * np.array(divmod(int(cell), 2)) + rng.integers(-JITTER, JITTER + 1, 2)
            row, column = np.clip(corner, 0, side)
            place = image[row : row + side, column : column + side]
            # Neighbours may overlap by a pixel or two, which are black in most digits.
            np.maximum(place, digits.images[rng.choice(pool[digit])], out=place)
    return images, labels
