"""Keeping decoded images in a cache, and reading them back like an array."""

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from dsh_jax.data.images import cache as image_cache
from dsh_jax.data.images.cache import CachedImages, cached_images
from dsh_jax.data.images.listing import list_images
from tests.image_files import (
    RED,
    cache_of,
    change_content,
    change_time,
    decoded,
    decodings_from_now,
    random_pixels,
    saved,
    write_folder,
)
from tests.messages import one_sentence


def test_cached_images_are_like_an_array(tmp_path):
    pixels = random_pixels(300)
    listing = list_images(write_folder(tmp_path / "images", pixels))
    cached = cached_images(listing, size=8, cache=tmp_path / "cache")
    assert cached.shape == pixels.shape and cached.ndim == 4 and cached.dtype == np.uint8
    assert len(cached) == 300 and cached.nbytes == pixels.nbytes
    assert cached.skipped == () and cached.kept.tolist() == list(range(300))
    whole = cached.in_memory()
    assert np.array_equal(whole, pixels) and whole.dtype == np.uint8
    rng = np.random.default_rng(1)
    for ids in (
        rng.permutation(300), rng.integers(0, 300, (4, 5)), np.array([], int), [7, 7, -1], 3,
        np.int32(9), slice(290, None, 3), np.arange(300) % 7 == 0,
    ):  # fmt: skip
        assert np.array_equal(cached[ids], pixels[ids])
    for ids in (300, [0, -301]):
        with pytest.raises(IndexError):
            cached[ids]


def test_large_images_are_kept_as_jpeg(tmp_path):
    x = np.linspace(0, 255, 80).astype(np.uint8)
    smooth = np.stack(np.broadcast_arrays(x, x[:, None], x[::-1]), axis=-1)
    listing = list_images(write_folder(tmp_path / "images", [smooth, smooth[::-1]]))
    cached = cached_images(listing, size=80, cache=tmp_path / "cache")
    assert np.abs(cached[:].astype(int) - [smooth, smooth[::-1]]).max() < 12
    expected = io.BytesIO(saved(Image.fromarray(smooth), "JPEG", quality=95))
    assert np.array_equal(cached[0], Image.open(expected))
    assert np.array_equal(cached[[1, 0]], cached[:][::-1])
    for raw in (True, False):  # as a person may also choose
        chosen = cached_images(listing, size=80, cache=tmp_path / str(raw), raw=raw)
        assert np.array_equal(chosen[0], smooth) == raw


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "images", random_pixels(4))


@pytest.fixture
def made(monkeypatch):
    """Counts how often a cache is made."""
    calls = []
    make = image_cache._make

    def counting(path, *rest):
        calls.append(path)
        make(path, *rest)

    monkeypatch.setattr(image_cache, "_make", counting)
    return calls


def test_a_cache_is_made_once(folder, made):
    first, second = cache_of(folder), cache_of(folder)
    assert len(made) == 1
    assert np.array_equal(first[:], second[:]) and first.version == second.version
    cache_of(folder, size=4)
    cache_of(folder, size=8)
    assert len(made) == 2  # one file per size
    held = {path.name for path in made[0].parent.iterdir() if not path.name.startswith(".")}
    assert held == {path.name for path in made}


def change_names(folder):
    (folder / "a/0000.png").rename(folder / "a/0009.png")


def add_one(folder):
    Image.new("RGB", (8, 8), RED).save(folder / "a/zzz.png")


@pytest.mark.parametrize("change", [change_time, change_content, change_names, add_one])
def test_a_cache_is_rebuilt_when_a_file_changes(folder, made, change):
    cache_of(folder)
    change(folder)
    again = cache_of(folder)
    assert len(made) == 2 and made[0] == made[1]
    expected = [decoded(path.read_bytes()) for path in list_images(folder).paths]
    assert np.array_equal(again[:], expected)


@pytest.mark.parametrize(
    ("change", "number"), [(change_time, 0), (change_content, 1), (change_names, 0), (add_one, 1)]
)
def test_only_new_content_is_decoded(folder, monkeypatch, change, number):
    decodings = decodings_from_now(monkeypatch)
    cache_of(folder)
    assert len(decodings) == 4
    change(folder)
    again = cache_of(folder)
    assert len(decodings) == 4 + number
    fresh = cached_images(list_images(folder), size=8, cache=folder.parent / "other")
    assert np.array_equal(again[:], fresh[:])
    assert (again.version, again.contents) == (fresh.version, fresh.contents)


def test_a_renamed_folder_is_not_decoded_again_and_one_less_is_not_read(folder, monkeypatch):
    decodings = decodings_from_now(monkeypatch)
    before = cache_of(folder)
    moved = folder.rename(folder.with_name("renamed"))
    again = cache_of(moved)
    assert len(decodings) == 4 and again.version == before.version
    assert np.array_equal(again[:], before[:])
    (moved / "a/0001.png").unlink()
    monkeypatch.setattr(image_cache, "read_content", None)  # would fail
    assert np.array_equal(cache_of(moved)[:], np.delete(before[:], 1, axis=0))


def test_a_damaged_record_is_decoded_again(folder, made, monkeypatch):
    decodings = decodings_from_now(monkeypatch)
    expected = cache_of(folder)[:]
    with made[0].open("r+b") as file:
        file.seek(300)
        file.write(b"\xff" * 20)
    add_one(folder)
    assert np.array_equal(cache_of(folder)[:][[0, 1, 3, 4]], expected) and len(decodings) > 5


def test_cached_images_in_another_order(folder):
    cached = cache_of(folder)
    arranged = cached.arranged(np.array([2, -1, 0]))
    assert arranged.shape == (3, 8, 8, 3) and len(arranged) == 3
    assert np.array_equal(arranged[[0, 2]], cached[[2, 0]])
    again = arranged.arranged(np.array([2, 0]))
    assert np.array_equal(again[:], cached[[0, 2]]) and again.nbytes == 2 * 8 * 8 * 3


def test_a_cache_of_another_format_is_rebuilt(folder, made, monkeypatch):
    cache_of(folder)
    monkeypatch.setattr(image_cache, "FORMAT", image_cache.FORMAT + 1)
    cache_of(folder)
    assert len(made) == 2


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


def scribble(path):
    path.write_bytes(b"no records" * 20_000)


def foreign(path):
    writer = image_cache.ArrayRecordWriter(str(path), "group_size:1")
    writer.write(b"[1, 2]")
    writer.close()


@pytest.mark.parametrize("damage", [cut, empty, scribble, foreign])
def test_a_damaged_cache_is_rebuilt(folder, made, damage):
    expected = cache_of(folder)[:]
    damage(made[0])
    one_sentence(lambda: CachedImages(made[0]), made[0], "delete it")
    assert np.array_equal(cache_of(folder)[:], expected) and len(made) == 2


def test_damage_between_the_records_is_reported(folder, made):
    cached = cache_of(folder)
    with made[0].open("r+b") as file:
        file.seek(300)
        file.write(b"\xff" * 20)
    one_sentence(lambda: cached[:], made[0], "delete it")
    made[0].unlink()
    assert len(cache_of(folder)[:]) == 4


def test_undecodable_images_are_reported(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "images", random_pixels(4))
    good = saved(Image.fromarray(random_pixels(1, 64, 64)[0]), "JPEG")
    (folder / "a/bomb.png").write_bytes(saved(Image.new("1", (300, 300))))
    (folder / "a/cut.jpg").write_bytes(good[: len(good) // 2])
    (folder / "a/huge.png").write_bytes(saved(Image.new("1", (400, 400))))
    (folder / "a/text.png").write_text("no image")
    (folder / "b/0.jpg").touch()
    (folder / "b/gone.jpg").touch()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 80_000)  # above: a warning; twice: an error
    listing = list_images(folder)
    (folder / "b/gone.jpg").unlink()
    cached = cached_images(listing, size=8, cache=tmp_path / "cache", max_pixels=80_000)
    assert [listing.names[row] for row in cached.kept] == [
        "a/0000.png", "a/0001.png", "b/0002.png", "b/0003.png",
    ]  # fmt: skip
    assert np.array_equal(cached[:], random_pixels(4))
    skipped = dict(line.split(": ", 1) for line in cached.skipped)
    reasons = {
        "a/bomb.png": "too large", "a/cut.jpg": "truncated", "a/huge.png": "too large",
        "a/text.png": "not an image", "b/0.jpg": "empty", "b/gone.jpg": "no such file",
    }  # fmt: skip
    assert list(skipped) == list(reasons)
    for name, reason in reasons.items():
        assert reason in skipped[name] and "0x" not in skipped[name]
    assert skipped["a/bomb.png"] == (
        "it is too large: images may have up to 80,000 pixels, and it has 300 x 300; raise "
        "data.max_pixels to read it"
    )
    again = cached_images(listing, size=8, cache=tmp_path / "cache", max_pixels=80_000)
    assert again.skipped == cached.skipped
    more = cached_images(listing, size=8, cache=tmp_path / "cache", max_pixels=160_000)
    assert "large" not in " ".join(more.skipped) and len(more.kept) == 6
    assert Image.MAX_IMAGE_PIXELS == 160_000


def test_nothing_can_be_decoded(tmp_path):
    (tmp_path / "images/a").mkdir(parents=True)
    (tmp_path / "images/a/1.jpg").write_text("no image")
    listing = list_images(tmp_path / "images")
    one_sentence(
        lambda: cached_images(listing, size=8, cache=tmp_path / "cache"),
        "a/1.jpg", "not an image", tmp_path / "images",
    )  # fmt: skip
    assert not list((tmp_path / "cache").glob("*.array_record"))


def test_a_cache_that_cannot_be_written(folder, tmp_path):
    (tmp_path / "file").touch()
    listing = list_images(folder)
    one_sentence(lambda: cached_images(listing, size=8, cache=tmp_path / "file"), "data.cache_dir")


def test_a_full_disk(folder):
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from dsh_jax.data.images.cache import cached_images\n"
        "from dsh_jax.data.images.listing import list_images\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "folder = Path(sys.argv[1])\n"
        "cached_images(list_images(folder), size=8, cache=folder.parent / 'cache')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True)
    assert "data.cache_dir" in done.stderr.splitlines()[-1], done.stderr
    assert not [path for path in (folder.parent / "cache").iterdir() if path.suffix != ".lock"]


def make_slowly(folder):
    """Makes a cache, and never comes to an end."""

    def stuck(path, **limits):
        if path.name == "0003.png":
            (folder.parent / "begun").touch()
            time.sleep(600)
        return read(path)

    read = image_cache.read_content
    image_cache.read_content = stuck
    cache_of(folder)


def test_a_killed_build_leaves_nothing_that_is_read(folder, made):
    process = multiprocessing.get_context("spawn").Process(target=make_slowly, args=(folder,))
    process.start()
    while not (folder.parent / "begun").exists():
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    left = list((folder.parent / "cache").iterdir())
    assert {path.suffix for path in left} == {".lock", ".tmp"}  # and no cache
    assert np.array_equal(cache_of(folder)[:], random_pixels(4)) and len(made) == 1
    assert {path.suffix for path in made[0].parent.iterdir()} == {".lock", ".array_record"}


def test_an_interrupted_build_leaves_the_old_cache(folder, made, monkeypatch):
    cache_of(folder)
    before = made[0].read_bytes()
    change_time(folder)

    def interrupt(path, **limits):
        raise KeyboardInterrupt

    monkeypatch.setattr(image_cache, "read_content", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache_of(folder)
    assert made[0].read_bytes() == before
    assert {path.suffix for path in made[0].parent.iterdir()} == {".lock", ".array_record"}


def build_and_count(folder, results):
    count = []
    make = image_cache._make
    image_cache._make = lambda *arguments: (count.append(1), make(*arguments))
    results.put((len(cache_of(folder)), len(count)))


def test_of_several_processes_one_makes_the_cache(folder):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=build_and_count, args=(folder, results)) for _ in range(2)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(found) == [(4, 0), (4, 1)]
