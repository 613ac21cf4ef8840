"""Image files as a data set: in memory or streamed, its version, and what reading imports."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from dsh_jax.data.images.cache import CachedImages
from dsh_jax.data.images.dataset import choose, load_images
from dsh_jax.data.images.listing import list_images
from tests.image_files import cache_of, change_content, change_time, random_pixels, write_folder


def test_data_set_in_memory_and_streamed(tmp_path):
    pixels = random_pixels(10)
    folder = write_folder(tmp_path / "images", pixels)
    (folder / "a/0001.png").write_text("no image")
    (folder / "loose.png").touch()
    kept = np.delete(np.arange(10), 1)
    datasets = [
        load_images(list_images(folder), name="mine", size=8, cache=tmp_path, memory_limit_gb=limit)
        for limit in (1, 0)
    ]
    for dataset, kind in zip(datasets, (np.ndarray, CachedImages), strict=True):
        assert isinstance(dataset.images, kind)
        assert np.array_equal(dataset.take(np.arange(9))["image"], pixels[kept])
        assert dataset.labels.tolist() == [0] * 4 + [1] * 5 and dataset.class_names == ("a", "b")
        assert dataset.names[1] == "a/0002.png" and len(dataset) == 9
        assert dataset.skipped[0].startswith("loose.png") and "0001" in dataset.skipped[1]
        assert dataset.remarks()[1].startswith("left out: 2; the first is loose.png")
        assert np.array_equal(dataset.features(np.array([3])), datasets[0].features(np.array([3])))
    storage = [dataset.remarks()[0] for dataset in datasets]
    assert storage[0] == "0.000 GB of pixels is within data.memory_limit_gb=1: kept in memory"
    assert "is more than data.memory_limit_gb=0: streamed from the cache" in storage[1]
    assert datasets[0].version == datasets[1].version


def test_the_version_distinguishes_data(tmp_path):
    def version(folder, **options):
        options = {"size": 8, **options}
        listing = list_images(folder)
        return load_images(
            listing, name="mine", cache=tmp_path, memory_limit_gb=1, **options
        ).version

    first = write_folder(tmp_path / "one/images", random_pixels(4))
    moved = write_folder(tmp_path / "other/images", random_pixels(4))
    assert version(first) == version(moved)  # on another machine, say
    assert version(first, size=4) != version(first)
    change_time(moved)
    assert version(first) == version(moved)
    (moved / "a/0001.png").rename(moved / "b/0001.png")
    assert version(first) != version(moved)
    change_content(first)
    assert version(first) != version(write_folder(tmp_path / "other/again", random_pixels(4)))


def test_the_choice_is_by_the_size_of_the_pixels(tmp_path):
    cached = cache_of(write_folder(tmp_path / "images", random_pixels(4)))
    limit = cached.nbytes / 1e9
    assert isinstance(choose(cached, limit)[0], np.ndarray)
    assert choose(cached, 0.99 * limit)[0] is cached


def test_reading_needs_no_grain_and_no_tensorflow():
    code = (
        "import sys\n"
        "import dsh_jax.data.images.dataset, dsh_jax.data.prefetch, json\n"
        "print(json.dumps([name in sys.modules for name in ('grain', 'tensorflow')]))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert json.loads(done.stdout) == [False, False], done.stderr
