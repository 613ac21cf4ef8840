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
LANCZOS = "lanczos"
INTERPOLATIONS = {
    LANCZOS: Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}
"""How images may be resized; all are with antialiasing, as in Pillow."""
MOST_BYTES = 2**28  # of a file; of more if more pixels are allowed
MOST_PIXELS = 2**28 // 3  # where Pillow begins to warn of decompression bombs


def open_image(content: bytes, max_pixels: int = MOST_PIXELS) -> Image.Image:
    """Opens an image of one of `FORMATS`; its pixels are not decoded yet.

    Args:
      content: bytes of the file.
      max_pixels: the limit.

    Raises:
      UnidentifiedImageError: the content has no such format.
      ValueError: it has more than `max_pixels`.
      Exception: of almost any type, if the content is damaged.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=tuple(FORMATS))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(_too_large("", max_pixels)) from error
    _check_size(image, max_pixels)
    return image


def allow_pixels(max_pixels: int) -> None:
    """Lets Pillow open images of up to `max_pixels`; its own limit only ever rises here.

    Pillow has one limit for the whole process, above which it warns, and at twice of which it
    refuses. The limit of each call of this module's functions is the one that the caller names.
    """
    if Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, max_pixels)


def decode_image(
    content: bytes,
    size: tuple[int, int],
    mode: str = "RGB",
    max_pixels: int = MOST_PIXELS,
    interpolation: str = LANCZOS,
) -> Image.Image:
    """Decodes what `open_image` opens, the first image of an animation.

    Args:
      content: bytes of the file.
      size, mode, interpolation: as for `fit_image`.
      max_pixels: the limit.

    Returns:
      An image of this size and mode; see `fit_image`.

    Raises:
      Exception: of almost any type, if the content is damaged or not an image.
    """
    image = open_image(content, max_pixels)
    image.draft(None, (2 * size[0], 2 * size[1]))  # a JPEG is decoded no larger than needed
    return fit_image(image, size, mode, max_pixels, interpolation)


def fit_image(
    image: Image.Image,
    size: tuple[int, int],
    mode: str,
    max_pixels: int = MOST_PIXELS,
    interpolation: str = LANCZOS,
) -> Image.Image:
    """Converts an image to a size and mode.

    Args:
      image: of any size and mode.
      size: (width, height).
      mode: "RGB" or "L" (grey).
      max_pixels: the limit.
      interpolation: a key of `INTERPOLATIONS`.

    Returns:
      The image rotated according to its EXIF data, composited on white, scaled to cover `size`,
      and cropped equally on both sides. The pixels of an image that already has this size and mode
      do not change.

    Raises:
      ValueError: more than `max_pixels`, or pixels are floats; and whatever Pillow raises for
        damaged content.
    """
    _check_size(image, max_pixels)  # before anything decodes it
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its pixels are floats, whose range is unknown")
    if image.mode.startswith("I"):  # 16 bits per pixel; Pillow would clip values above 255
        deep = np.clip(np.asarray(image), 0, 65535)
        image = Image.fromarray(np.rint(deep / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return ImageOps.fit(image.convert(mode), size, INTERPOLATIONS[interpolation])


def as_jpeg(image: Image.Image, quality: int) -> bytes:
    """The image as a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def through_jpeg(image: Image.Image, quality: int) -> Image.Image:
    """The image as it comes back from a JPEG."""
    return open_image(as_jpeg(image, quality))


def read_image(
    path: Path,
    size: tuple[int, int],
    mode: str = "RGB",
    *,
    max_pixels: int = MOST_PIXELS,
    limited_by: str = "",
    interpolation: str = LANCZOS,
) -> Image.Image | str:
    """A file decoded by `decode_image`; or the reason why that failed.

    Args:
      path: of the file.
      size, mode, interpolation: as for `fit_image`.
      max_pixels: the limit; above `MOST_PIXELS` a file may have three bytes for each.
      limited_by: the config field that sets the limit, for the reason; empty if none does.
    """
    content = read_content(path, max_pixels=max_pixels, limited_by=limited_by)
    if isinstance(content, str):
        return content
    return try_to_decode(
        content, size, mode, max_pixels=max_pixels, limited_by=limited_by,
        interpolation=interpolation,
    )  # fmt: skip


def read_content(
    path: Path, *, max_pixels: int = MOST_PIXELS, limited_by: str = ""
) -> bytes | str:
    """The bytes of an image file; or the reason why reading failed. Arguments: `read_image`."""
    try:
        return read_bytes(path, MOST_BYTES if max_pixels <= MOST_PIXELS else 3 * max_pixels)
    except FileNotFoundError:
        return "there is no such file"
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        too_large = "more than the limit" in str(error)
        said = getattr(error, "strerror", None) or error
        return f"it cannot be read ({said}){_raise(limited_by) if too_large else ''}"


def try_to_decode(
    content: bytes,
    size: tuple[int, int],
    mode: str = "RGB",
    *,
    max_pixels: int = MOST_PIXELS,
    limited_by: str = "",
    interpolation: str = LANCZOS,
) -> Image.Image | str:
    """What `decode_image` returns; or the reason why decoding failed. Arguments: `read_image`."""
    try:
        if not content:
            return "it is empty"
        return decode_image(content, size, mode, max_pixels, interpolation)
    except UnidentifiedImageError:
        return f"it is not an image of the formats {', '.join(FORMATS)}"
    except Exception as error:  # Pillow raises almost any type for a damaged file
        said = " ".join(str(error).split())[:100].rstrip(".")
        if said.startswith(_TOO_LARGE):
            return f"{said}{_raise(limited_by)}"
        return f"it cannot be decoded ({said})"


_TOO_LARGE = "it is too large"


def _raise(limited_by: str) -> str:
    return f"; raise {limited_by} to read it" if limited_by else ""


def _too_large(found: str, max_pixels: int) -> str:
    return f"{_TOO_LARGE}: images may have up to {max_pixels:,} pixels{found}"


def _check_size(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        found = f", and it has {image.width:,} x {image.height:,}"
        raise ValueError(_too_large(found, max_pixels))
