"""Decoding images of any kind: upright, in RGB, on white, cut to one size."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.image_files import BLUE, GREEN, RED, WHITE, decoded, random_pixels, saved


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
