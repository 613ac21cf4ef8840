"""Streaming batches of images from a cache: the same as from memory, from any step on."""

import time

import numpy as np
import pytest

from dsh_jax.data.batches import batch_ids
from dsh_jax.data.images.cache import cached_images
from dsh_jax.data.images.listing import list_images
from dsh_jax.data.prefetch import stream
from dsh_jax.errors import UserError
from tests.image_files import random_pixels, write_folder


def first_batches(count, images, ids, *, batch_size=7, seed=3, start_step=0, workers=2):
    def make(step):
        batch = batch_ids(ids, step, batch_size, seed=seed, stream="stream")
        return batch, images[batch]

    return list(stream(make, range(start_step, start_step + count), workers=workers))


def same(one, other):
    return all(
        np.array_equal(a, b)
        for left, right in zip(one, other, strict=True)
        for a, b in zip(left, right, strict=True)
    )


@pytest.fixture(scope="module")
def hundred(tmp_path_factory):
    root = tmp_path_factory.mktemp("hundred")
    listing = list_images(write_folder(root / "images", random_pixels(100)))
    return cached_images(listing, size=8, cache=root / "cache")


def test_streamed_batches_are_those_of_memory(hundred):
    ids = np.arange(0, 100, 2)
    for step, (batch, images) in enumerate(first_batches(20, hundred, ids)):
        assert np.array_equal(images, random_pixels(100)[batch])
        assert np.array_equal(batch, batch_ids(ids, step, 7, seed=3, stream="stream"))
    assert same(
        first_batches(20, hundred, ids), first_batches(20, random_pixels(100), ids, workers=5)
    )


def test_a_stream_resumes_at_any_step(hundred):
    ids = np.arange(100)
    whole = first_batches(30, hundred, ids)
    for step in range(30):
        assert same(first_batches(30 - step, hundred, ids, start_step=step), whole[step:])


def test_every_id_comes_once_per_epoch(hundred):
    ids = np.arange(10, 100)
    batches = first_batches(18, hundred, ids, batch_size=10)
    epochs = np.concatenate([batch for batch, _ in batches]).reshape(2, 90)
    assert np.array_equal(np.sort(epochs), [ids, ids])
    assert not np.array_equal(*epochs)
    other = first_batches(18, hundred, ids, batch_size=10, seed=4)
    assert not same(other[:9], batches[9:])
    assert not same(other, batches)


def test_an_exception_is_raised_in_order():
    def make(step):
        if step == 5:
            raise UserError("that's it")
        time.sleep(0.001 * (step % 3))
        return step

    steps = stream(make, range(2, 9), workers=3)
    assert [next(steps) for _ in range(3)] == [2, 3, 4]
    with pytest.raises(UserError, match="that's it"):
        next(steps)
    assert list(stream(make, range(6, 9))) == [6, 7, 8]
