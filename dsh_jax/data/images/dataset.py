"""Data sets of images; images from files are kept in memory, or streamed if they are many."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.images.cache import CachedImages, cached_images, checksum
from dsh_jax.data.images.decoding import LANCZOS, MOST_PIXELS
from dsh_jax.data.images.listing import Listing
from dsh_jax.data.signature import ImageInputs


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageDataset(Dataset):
    """Images; networks take them as `image`.

    Attributes:
      images: uint8 `[n, height, width, channels]`.
      jpeg_quality: of the JPEGs that they were stored as after resizing; 0 if stored as pixels.
      interpolation: by which they were resized, a key of `decoding.INTERPOLATIONS`.
    """

    images: np.ndarray
    jpeg_quality: int = 0
    interpolation: str = LANCZOS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images.ndim != 4 or len(self.images) != len(self):
            raise ValueError(
                f"images {self.images.shape} of {len(self)} labels should be"
                " [n, height, width, channels]"
            )
        self.images.setflags(write=False)

    @property
    def inputs(self) -> ImageInputs:
        """How an image becomes a network's input."""
        height, width, channels = self.images.shape[1:]
        return ImageInputs(height, width, channels, self.jpeg_quality, self.interpolation)

    def take(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """`image`: uint8 `[m, height, width, channels]`."""
        return {"image": self.images[ids]}

    def features(self, ids: np.ndarray) -> np.ndarray:
        """Raw pixels in [0, 1], float32 `[m, height * width * channels]`."""
        images = self.images[ids]
        return images.reshape(len(images), -1).astype(np.float32) / 255.0

    def _arranged(self, rows: np.ndarray) -> dict[str, Any]:
        if isinstance(self.images, CachedImages):
            return {"images": self.images.arranged(rows)}
        images = self.images[rows]
        images[rows < 0] = 0
        return {"images": images}


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageFiles(ImageDataset):
    """Images read from files.

    Attributes:
      skipped: the files left out, each as "name: reason".
      storage: where the pixels are, and why.
      roles: role -> bool `[n]`, if the lists of files also give the images' roles.
    """

    skipped: tuple[str, ...]
    storage: str
    roles: Mapping[str, np.ndarray]

    def remarks(self) -> list[str]:
        """Where the pixels are, which files were left out, and the notes."""
        first = f"; the first is {self.skipped[0]}" if self.skipped else ""
        left_out = f"left out: {len(self.skipped):,}{first}"
        return [self.storage, left_out, *super().remarks()]

    def _arranged(self, rows: np.ndarray) -> dict[str, Any]:
        roles = {role: mask[rows] & (rows >= 0) for role, mask in self.roles.items()}
        return super()._arranged(rows) | {"roles": roles}


def load_images(
    listing: Listing,
    *,
    name: str,
    size: int,
    cache: Path,
    memory_limit_gb: float,
    collection: str = "image_files",
    max_pixels: int = MOST_PIXELS,
    interpolation: str = LANCZOS,
) -> ImageFiles:
    """A listing as a data set: in memory if it is small, otherwise read from its cache.

    Args:
      listing: the files.
      name: of the data set.
      size, cache, max_pixels, interpolation: as for `cached_images`.
      memory_limit_gb: limit for pixels kept in memory, in 10^9 bytes.
      collection: what splits and results call the data, wherever it lies.

    Raises:
      UserError: no image can be decoded, or the cache cannot be written or read.
    """
    cached = cached_images(
        listing, size=size, cache=cache, max_pixels=max_pixels, interpolation=interpolation
    )
    images, storage = choose(cached, memory_limit_gb)
    kept = cached.kept
    names = tuple(listing.names[row] for row in kept)
    labels, is_test = listing.labels[kept], listing.is_test[kept]
    made_of = [cached.version, names, listing.class_names, labels.astype("<i4").tobytes().hex(),
               is_test.tobytes().hex()]  # fmt: skip
    return ImageFiles(
        name=name, version=checksum(made_of), images=images, labels=labels, is_test=is_test,
        class_names=listing.class_names, collection=collection, names=names,
        contents=cached.contents, skipped=listing.skipped + cached.skipped, storage=storage,
        jpeg_quality=cached.jpeg_quality, interpolation=interpolation,
        roles={role: mask[kept] for role, mask in listing.roles.items()}, notes=listing.notes,
    )  # fmt: skip


def choose(images: CachedImages, limit_gb: float) -> tuple[Any, str]:
    """The images as one array, or as they are if that exceeds the limit; and why."""
    size, limit = f"{images.nbytes / 1e9:.3f} GB of pixels", f"data.memory_limit_gb={limit_gb:g}"
    if images.nbytes > limit_gb * 1e9:
        return images, f"{size} is more than {limit}: streamed from the cache"
    return images.in_memory(), f"{size} is within {limit}: kept in memory"
