"""An image of any kind, upright, on white, cut and resized to one size.

Every image file is opened here, in one of `FORMATS`: Pillow knows many more, some of which start
other programs.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dsh_jax.data.reading import read_bytes

FORMATS = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm"),
}
"""Pillow's names of the formats that are read -> the endings of their files."""
MOST_BYTES = 2**28  # of a file
MOST_PIXELS = 2**28 // 3  # where Pillow begins to warn of decompression bombs


def open_image(content: bytes) -> Image.Image:
    """Opens an image of one of `FORMATS`; its pixels are not decoded yet.

    Raises:
      UnidentifiedImageError: the content has no such format.
      ValueError: it has more than `MOST_PIXELS`.
      Exception: of almost any type, if the content is damaged.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=tuple(FORMATS))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(_TOO_LARGE) from error
    _check_size(image)
    return image


def decode_image(content: bytes, size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """Decodes what `open_image` opens, the first image of an animation.

    Args:
      content: bytes of the file.
      size, mode: as for `fit_image`.

    Returns:
      An image of this size and mode; see `fit_image`.

    Raises:
      Exception: of almost any type, if the content is damaged or not an image.
    """
    image = open_image(content)
    image.draft(None, (2 * size[0], 2 * size[1]))  # a JPEG is decoded no larger than needed
    return fit_image(image, size, mode)


def fit_image(image: Image.Image, size: tuple[int, int], mode: str) -> Image.Image:
    """Converts an image to a size and mode.

    Args:
      image: of any size and mode.
      size: (width, height).
      mode: "RGB" or "L" (grey).

    Returns:
      The image rotated according to its EXIF data, composited on white, scaled to cover `size`,
      and cropped equally on both sides. The pixels of an image that already has this size and mode
      do not change.

    Raises:
      ValueError: more than `MOST_PIXELS`, or pixels are floats; and whatever Pillow raises for
        damaged content.
    """
    _check_size(image)  # before anything decodes it
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its pixels are floats, whose range is unknown")
    if image.mode.startswith("I"):  # 16 bits per pixel; Pillow would clip values above 255
        deep = np.clip(np.asarray(image), 0, 65535)
        image = Image.fromarray(np.rint(deep / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return ImageOps.fit(image.convert(mode), size, Image.Resampling.LANCZOS)


def as_jpeg(image: Image.Image, quality: int) -> bytes:
    """The image as a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def through_jpeg(image: Image.Image, quality: int) -> Image.Image:
    """The image as it comes back from a JPEG."""
    return open_image(as_jpeg(image, quality))


def read_image(path: Path, size: tuple[int, int], mode: str = "RGB") -> Image.Image | str:
    """A file decoded by `decode_image`; or the reason why that failed."""
    content = read_content(path)
    return content if isinstance(content, str) else try_to_decode(content, size, mode)


def read_content(path: Path) -> bytes | str:
    """The bytes of an image file; or the reason why reading failed."""
    try:
        return read_bytes(path, MOST_BYTES)
    except FileNotFoundError:
        return "there is no such file"
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        return f"it cannot be read ({getattr(error, 'strerror', None) or error})"


def try_to_decode(content: bytes, size: tuple[int, int], mode: str = "RGB") -> Image.Image | str:
    """What `decode_image` returns; or the reason why decoding failed."""
    try:
        return decode_image(content, size, mode) if content else "it is empty"
    except UnidentifiedImageError:
        return f"it is not an image of the formats {', '.join(FORMATS)}"
    except Exception as error:  # Pillow raises almost any type for a damaged file
        return f"it cannot be decoded ({' '.join(str(error).split())[:100].rstrip('.')})"


_TOO_LARGE = f"it is too large: images may have up to {MOST_PIXELS:,} pixels"


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(_TOO_LARGE)
