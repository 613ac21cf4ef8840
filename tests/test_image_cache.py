"""Decoding any image once, keeping it, and reading it back whole or as a stream."""

import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsh_jax.data.batches import batch_ids
from dsh_jax.data.images import cache as image_cache
from dsh_jax.data.images.cache import CachedImages, cached_images
from dsh_jax.data.images.dataset import choose, load_images
from dsh_jax.data.images.decoding import decode_image
from dsh_jax.data.images.listing import list_images
from dsh_jax.data.prefetch import stream
from dsh_jax.errors import UserError
from tests.test_image_files import one_sentence

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def random_pixels(n, height=8, width=8):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3)).astype(np.uint8)


def saved(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write_folder(root, pixels, kind="png"):
    """Images alternately of classes a and b, in the order in which they are listed."""
    for number, image in enumerate(pixels):
        folder = root / ("a" if number < len(pixels) // 2 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:04}.{kind}")
    return root


def decoded(content, size=8):
    return np.asarray(decode_image(content, size))


# Decoding


def corners(pixels):
    return [tuple(pixels[row, column].tolist()) for row in (0, -1) for column in (0, -1)]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_upright(orientation):
    """A camera's own pixels, turned or mirrored, with the tag that says how to see them."""
    upright = Image.new("RGB", (8, 8), WHITE)
    for place, colour in zip([(0, 0), (7, 0), (0, 7)], (RED, GREEN, BLUE), strict=True):
        upright.putpixel(place, colour)
    undo = {
        1: [], 2: ["FLIP_LEFT_RIGHT"], 3: ["ROTATE_180"], 4: ["FLIP_TOP_BOTTOM"],
        5: ["TRANSPOSE"], 6: ["ROTATE_90"], 7: ["TRANSVERSE"], 8: ["ROTATE_270"],
    }  # fmt: skip
    stored = upright
    for turn in undo[orientation]:
        stored = stored.transpose(Image.Transpose[turn])
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert corners(decoded(saved(stored, exif=exif))) == [RED, GREEN, BLUE, WHITE]


def one_colour(mode, colour, **info):
    image = Image.new(mode, (8, 8), colour)
    image.info |= info
    return image


def palette(colours, **options):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([value for colour in colours for value in colour])
    return saved(image, **options)


@pytest.mark.parametrize(
    ("content", "colour"),
    [
        (saved(one_colour("RGB", (1, 2, 3))), (1, 2, 3)),
        (saved(one_colour("L", 77)), (77, 77, 77)),
        (saved(one_colour("1", 1)), WHITE),
        (saved(one_colour("1", 0), "PPM"), (0, 0, 0)),
        (palette([RED, (9, 8, 7)]), (9, 8, 7)),
        (palette([RED, (9, 8, 7)], transparency=1), WHITE),
        (palette([RED, (9, 8, 7)], transparency=bytes([255, 0])), WHITE),
        (saved(one_colour("LA", (100, 255))), (100, 100, 100)),
        (saved(one_colour("LA", (100, 0))), WHITE),
        (saved(one_colour("RGBA", (255, 0, 0, 51))), (255, 204, 204)),  # a fifth red, by hand
        (saved(one_colour("RGB", (1, 2, 3)), transparency=(1, 2, 3)), WHITE),
        (saved(one_colour("CMYK", (0, 255, 255, 0)), "TIFF"), RED),
        (saved(Image.fromarray(np.full((8, 8), 65535, np.uint16))), WHITE),
        (saved(Image.fromarray(np.full((8, 8), 257 * 100, np.uint16))), (100, 100, 100)),
        (saved(Image.fromarray(np.full((8, 8), 257 * 100, np.uint16)), "TIFF"), (100, 100, 100)),
        (b"P5 8 8 65535\n" + np.full(64, 257 * 100, ">u2").tobytes(), (100, 100, 100)),
    ],
)
def test_modes(content, colour):
    pixels = decoded(content)
    assert pixels.shape == (8, 8, 3) and pixels.dtype == np.uint8
    assert (pixels == colour).all(), (Image.open(io.BytesIO(content)).mode, pixels[0, 0])


def test_cmyk_jpeg():
    pixels = decoded(saved(one_colour("CMYK", (0, 255, 255, 0)), "JPEG", quality=95))
    assert np.abs(pixels.astype(int) - RED).max() < 8


def test_floats_are_refused():
    with pytest.raises(ValueError, match="floats"):
        decoded(saved(Image.new("F", (8, 8), 0.5), "TIFF"))


def test_the_first_image_of_an_animation():
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), BLUE)
    content = saved(first, "GIF", save_all=True, append_images=[second])
    assert (decoded(content) == RED).all()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF"])
def test_an_image_of_the_size_keeps_its_pixels(kind):
    (pixels,) = random_pixels(1)
    assert np.array_equal(decoded(saved(Image.fromarray(pixels), kind)), pixels)


@pytest.mark.parametrize("shape", [(8, 8), (3, 5), (200, 50), (50, 200), (1, 999), (1, 1), (7, 9)])
def test_any_size_becomes_one(shape):
    image = Image.new("RGB", shape, (10, 20, 30))
    assert (decoded(saved(image)) == (10, 20, 30)).all()
    assert decoded(saved(image)).shape == (8, 8, 3)


@pytest.mark.parametrize("shape", [(16, 32), (32, 16), (16, 40)])
def test_the_middle_is_cut_out(shape):
    """The same as scaling to a shorter side of 8, and then cutting."""
    image = Image.fromarray(random_pixels(1, *shape)[0])
    scaled = image.resize((shape[1] // 2, shape[0] // 2), Image.Resampling.LANCZOS)
    left, top = (scaled.width - 8) // 2, (scaled.height - 8) // 2
    expected = np.asarray(scaled).astype(int)[top : top + 8, left : left + 8]
    assert np.abs(decoded(saved(image)) - expected).max() <= 1  # what rounding may do


def test_scaling_is_that_of_pillow():
    (pixels,) = random_pixels(1, 40, 40)
    expected = Image.fromarray(pixels).resize((8, 8), Image.Resampling.LANCZOS)
    assert np.array_equal(decoded(saved(Image.fromarray(pixels))), np.asarray(expected))


def test_a_large_jpeg_is_decoded_smaller_but_looks_the_same():
    x = np.linspace(0, 255, 640).astype(np.uint8)
    image = Image.fromarray(np.stack(np.broadcast_arrays(x, x[:, None], x[::-1]), axis=-1))
    content = saved(image, "JPEG", quality=95)
    expected = np.asarray(image.resize((16, 16), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(decoded(content, 16) - expected).max() < 6


# The cache


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


def cache_of(folder, size=8):
    return cached_images(list_images(folder), size=size, cache=folder.parent / "cache")


def test_a_cache_is_made_once(folder, made):
    first, second = cache_of(folder), cache_of(folder)
    assert len(made) == 1
    assert np.array_equal(first[:], second[:]) and first.version == second.version
    cache_of(folder, size=4)
    cache_of(folder, size=8)
    assert len(made) == 2  # sizes lie side by side
    held = {path.name for path in made[0].parent.iterdir() if not path.name.startswith(".")}
    assert held == {path.name for path in made}


def change_time(folder):
    os.utime(folder / "a/0000.png", ns=(1, 1))


def change_content(folder):
    Image.new("RGB", (8, 8), RED).save(folder / "a/0000.png")


def change_names(folder):
    (folder / "a/0000.png").rename(folder / "a/0009.png")


def add_one(folder):
    Image.new("RGB", (8, 8), RED).save(folder / "a/zzz.png")


@pytest.mark.parametrize("change", [change_time, change_content, change_names, add_one])
def test_a_cache_is_made_anew_when_a_file_changes(folder, made, change):
    cache_of(folder)
    change(folder)
    again = cache_of(folder)
    assert len(made) == 2 and made[0] == made[1]
    expected = [decoded(path.read_bytes()) for path in list_images(folder).paths]
    assert np.array_equal(again[:], expected)


def test_a_cache_of_another_format_is_made_anew(folder, made, monkeypatch):
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
def test_a_damaged_cache_is_made_anew(folder, made, damage):
    expected = cache_of(folder)[:]
    damage(made[0])
    one_sentence(lambda: CachedImages(made[0]), made[0], "delete it")
    assert np.array_equal(cache_of(folder)[:], expected) and len(made) == 2


def test_damage_amid_the_records_is_told(folder, made):
    cached = cache_of(folder)
    with made[0].open("r+b") as file:
        file.seek(300)
        file.write(b"\xff" * 20)
    one_sentence(lambda: cached[:], made[0], "delete it")
    made[0].unlink()
    assert len(cache_of(folder)[:]) == 4


def test_what_cannot_be_decoded_is_told(tmp_path, monkeypatch):
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
    cached = cached_images(listing, size=8, cache=tmp_path / "cache")
    assert [listing.names[row] for row in cached.kept] == [
        "a/0000.png", "a/0001.png", "b/0002.png", "b/0003.png",
    ]  # fmt: skip
    assert np.array_equal(cached[:], random_pixels(4))
    told = dict(line.split(": ", 1) for line in cached.skipped)
    reasons = {
        "a/bomb.png": "decompression bomb", "a/cut.jpg": "truncated", "a/huge.png": "bomb",
        "a/text.png": "no image", "b/0.jpg": "empty", "b/gone.jpg": "No such file",
    }  # fmt: skip
    assert list(told) == list(reasons)
    for name, reason in reasons.items():
        assert reason in told[name] and "0x" not in told[name]
    assert cached_images(listing, size=8, cache=tmp_path / "cache").skipped == cached.skipped


def test_nothing_can_be_decoded(tmp_path):
    (tmp_path / "images/a").mkdir(parents=True)
    (tmp_path / "images/a/1.jpg").write_text("no image")
    listing = list_images(tmp_path / "images")
    one_sentence(
        lambda: cached_images(listing, size=8, cache=tmp_path / "cache"),
        "a/1.jpg", "no image", tmp_path / "images",
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

    def stuck(path, size):
        if path.name == "0003.png":
            (folder.parent / "begun").touch()
            time.sleep(600)
        return read(path, size)

    read = image_cache.read_image
    image_cache.read_image = stuck
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

    def interrupt(path, size):
        raise KeyboardInterrupt

    monkeypatch.setattr(image_cache, "read_image", interrupt)
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


# As a data set


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


def test_the_version_tells_data_apart(tmp_path):
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


def test_the_choice_is_by_the_size_of_the_pixels(folder):
    cached = cache_of(folder)
    limit = cached.nbytes / 1e9
    assert isinstance(choose(cached, limit)[0], np.ndarray)
    assert choose(cached, 0.99 * limit)[0] is cached


# Streaming


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


def test_a_stream_goes_on_at_any_step(hundred):
    ids = np.arange(100)
    whole = first_batches(30, hundred, ids)
    for step in range(30):
        assert same(first_batches(30 - step, hundred, ids, start_step=step), whole[step:])


def test_every_id_comes_once_an_epoch(hundred):
    ids = np.arange(10, 100)
    batches = first_batches(18, hundred, ids, batch_size=10)
    epochs = np.concatenate([batch for batch, _ in batches]).reshape(2, 90)
    assert np.array_equal(np.sort(epochs), [ids, ids])
    assert not np.array_equal(*epochs)
    other = first_batches(18, hundred, ids, batch_size=10, seed=4)
    assert not same(other[:9], batches[9:])
    assert not same(other, batches)


def test_an_exception_is_raised_in_its_turn():
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


def test_reading_needs_no_grain_and_no_tensorflow(folder):
    code = (
        "import sys\n"
        "import dsh_jax.data.images.dataset, dsh_jax.data.prefetch, json\n"
        "print(json.dumps([name in sys.modules for name in ('grain', 'tensorflow')]))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert json.loads(done.stdout) == [False, False], done.stderr
