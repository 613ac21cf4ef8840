"""An image file of any kind -> the square in its middle, upright, in RGB, on white."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError


def decode_image(content: bytes, size: int) -> Image.Image:
    """Decodes what Pillow knows, the first image of an animation.

    Args:
      content: of the file.
      size: pixels a side; an RGB image of just this size keeps its pixels.

    Returns:
      RGB, `[size, size]`: turned as its EXIF data say, what is transparent shown on white, scaled
      until the shorter side is `size`, and cut on both sides of the longer one.

    Raises:
      Exception: of nearly any kind, where the content is damaged or is no image.
    """
    image: Image.Image = Image.open(io.BytesIO(content))
    image.draft(None, (2 * size, 2 * size))  # a JPEG is decoded no larger than needed
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its pixels are floats, whose range is unknown")
    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow would cut off what is above 255
        deep = np.clip(np.asarray(image), 0, 65535)
        image = Image.fromarray(np.rint(deep / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.LANCZOS)


def read_image(path: Path, size: int) -> tuple[Image.Image, bytes] | str:
    """A file decoded, and its content; or why it cannot be."""
    try:
        content = path.read_bytes()
        return (decode_image(content, size), content) if content else "it is empty"
    except UnidentifiedImageError:
        return "it is no image that Pillow knows"
    except Exception as error:  # Pillow raises nearly any kind for a damaged file
        return f"it cannot be decoded ({' '.join(str(error).split())[:100].rstrip('.')})"
