"""Image files that several tests share: written to folders, decoded, and cached."""

import io
import os

import numpy as np
from PIL import Image

from dsh_jax.data.images import cache as image_cache
from dsh_jax.data.images.cache import cached_images
from dsh_jax.data.images.decoding import decode_image
from dsh_jax.data.images.listing import list_images

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def touch(root, *names):
    """Files with nothing in them: listing opens none."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def random_pixels(n, height=8, width=8):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3)).astype(np.uint8)


def saved(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write_folder(root, pixels, kind="png"):
    """Writes the first half of the images as class a, the rest as class b, in listing order."""
    for number, image in enumerate(pixels):
        folder = root / ("a" if number < len(pixels) // 2 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:04}.{kind}")
    return root


def decoded(content, size=8):
    return np.asarray(decode_image(content, (size, size)))


def cache_of(folder, size=8):
    return cached_images(list_images(folder), size=size, cache=folder.parent / "cache")


def change_time(folder):
    os.utime(folder / "a/0000.png", ns=(1, 1))


def change_content(folder):
    Image.new("RGB", (8, 8), RED).save(folder / "a/0000.png")


def decodings_from_now(monkeypatch):
    """The number of images that will have been decoded, as the length of a list."""
    calls = []
    decode = image_cache.try_to_decode
    monkeypatch.setattr(
        image_cache, "try_to_decode",
        lambda *args, **limits: calls.append(None) or decode(*args, **limits),
    )
    return calls
