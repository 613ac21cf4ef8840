"""Only the documented formats are opened, and nothing that is too large, on every path."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsh_jax.data.images.decoding import FORMATS, MOST_BYTES, MOST_PIXELS, open_image, read_image
from dsh_jax.data.images.listing import ENDINGS
from dsh_jax.data.items import prepare_batches
from dsh_jax.data.signature import ImageInputs
from tests.image_files import cache_of, random_pixels, saved, write_folder

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
INPUTS = ImageInputs(8, 8, 3)


def bomb():
    """A PNG of a few bytes that says it has 10,000 x 10,000 pixels: Pillow only warns."""

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def write(path, content):
    path.write_bytes(content)
    return path


def failure(item):
    (batch,) = prepare_batches([item], INPUTS, 4, multiple_of=1, progress=False)
    return batch.failures[0].reason


def no_other_programs(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.Popen", refuse)
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", refuse)


@pytest.mark.parametrize("kind", FORMATS)
def test_documented_formats_are_read(tmp_path, kind):
    (pixels,) = random_pixels(1)
    for ending in FORMATS[kind]:
        path = write(tmp_path / f"a{ending}", saved(Image.fromarray(pixels), kind))
        assert read_image(path, (8, 8)).size == (8, 8)


def test_an_eps_is_never_opened(tmp_path, monkeypatch):
    import PIL.EpsImagePlugin  # noqa: F401

    no_other_programs(monkeypatch)
    path = write(tmp_path / "a.png", EPS)
    assert "not an image of the formats JPEG, PNG" in read_image(path, (8, 8))
    assert "not an image of the formats" in failure(path)


@pytest.mark.parametrize("kind", ["ICO", "TGA", "PCX", "SGI", "PDF", "JPEG2000"])
def test_other_formats_are_refused(tmp_path, kind):
    try:
        content = saved(Image.new("RGB", (32, 32)), kind)
    except (KeyError, OSError):
        pytest.skip("this Pillow does not write it")
    assert "not an image of the formats" in read_image(write(tmp_path / "a.png", content), (8, 8))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bombs_are_too_large(tmp_path):
    path = write(tmp_path / "a.png", bomb())
    assert "too large" in read_image(path, (8, 8))
    assert "too large" in failure(path)
    assert "too large" in failure(Image.open(io.BytesIO(bomb())))
    with pytest.raises(ValueError, match="too large"):
        open_image(bomb())


def test_a_bomb_in_a_folder_is_left_out(tmp_path):
    folder = write_folder(tmp_path / "images", random_pixels(4))
    write(folder / "a/bomb.png", bomb())
    (line,) = cache_of(folder).skipped
    assert line.startswith("a/bomb.png") and "too large" in line


def test_an_array_that_is_too_large_is_a_failure():
    huge = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (10_000, 10_000, 3))
    assert "too large" in failure(huge)


def test_the_documentation_names_the_formats_and_limits():
    page = " ".join(Path(__file__).parents[1].joinpath("docs/data.md").read_text().split())
    for kind, endings in FORMATS.items():
        assert f"{kind} ({', '.join(f'`{ending}`' for ending in endings)})" in page
    assert f"up to {MOST_BYTES // 2**20} MiB and {MOST_PIXELS:,} pixels" in page
    assert {ending for endings in FORMATS.values() for ending in endings} == ENDINGS


def test_no_other_code_opens_images():
    package = Path(__file__).parents[1] / "dsh_jax"
    users = [path.name for path in package.rglob("*.py") if "Image.open(" in path.read_text()]
    assert users == ["decoding.py"]
