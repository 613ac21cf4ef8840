"""Decodes images of any format, turns them upright, crops and resizes them."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError


def decode_image(content: bytes, size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """Decodes an image of any format that Pillow knows; of an animation, the first frame.

    Args:
      content: bytes of the file.
      size, mode: as for `fit_image`.

    Returns:
      An image of this size and mode; see `fit_image`.

    Raises:
      Exception: of almost any type, if the content is damaged or not an image.
    """
    image = Image.open(io.BytesIO(content))
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
      ValueError: the pixels are floats. For damaged content, any exception of Pillow's.
    """
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
    """The image after encoding as JPEG and decoding."""
    return Image.open(io.BytesIO(as_jpeg(image, quality)))


def read_image(
    path: Path, size: tuple[int, int], mode: str = "RGB"
) -> tuple[Image.Image, bytes] | str:
    """A file decoded by `decode_image`, and its content; or the reason why decoding failed."""
    try:
        content = path.read_bytes()
        return (decode_image(content, size, mode), content) if content else "it is empty"
    except FileNotFoundError:
        return "there is no such file"
    except UnidentifiedImageError:
        return "it is not an image that Pillow knows"
    except Exception as error:  # Pillow raises almost any type for a damaged file
        return f"it cannot be decoded ({' '.join(str(error).split())[:100].rstrip('.')})"
