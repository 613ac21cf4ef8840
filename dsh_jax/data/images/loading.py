"""Loads images that the fields `data` of a config describe: built-in ones, or files."""

from pathlib import Path

from ml_collections import ConfigDict

from dsh_jax.data.classes import usable_classes
from dsh_jax.data.images import built_in
from dsh_jax.data.images.dataset import ImageDataset, ImageFiles, load_images
from dsh_jax.data.images.decoding import INTERPOLATIONS, LANCZOS, MOST_PIXELS
from dsh_jax.data.images.listing import list_images
from dsh_jax.data.images.nus_wide import list_nus_wide
from dsh_jax.data.splits.shares import AUTOMATIC
from dsh_jax.errors import UserError
from dsh_jax.fields import Choice, Integer, Number, Rules, Text

FILES = ("image_files", "nus_wide")
"""The sources that read image files."""
IMAGE_SIZE = Integer(8, 2**14)
"""Of image files, in pixels per side."""
OF_FILES: Rules = {
    "data.root": Text(),
    "data.image_root": Text(),
    "data.image_size": IMAGE_SIZE,
    "data.cache_dir": Text(),
    "data.memory_limit_gb": Number(least=0),
}
PIXELS: Rules = {"data.max_pixels": Integer(1, 2**40)}
INTERPOLATION: Rules = {"data.interpolation": Choice(tuple(INTERPOLATIONS))}


def image_shape_of(data: ConfigDict) -> tuple[int, int, int] | None:
    """Height, width and channels of a source's images; None if only reading it can tell."""
    if data.source in FILES:
        return data.image_size, data.image_size, 3
    return built_in.SHAPES.get(data.source)


def load_built_in(data: ConfigDict) -> ImageDataset:
    """The images that come with a package, or are downloaded."""
    return built_in.load(data.source, data.data_dir or None)


def load_image_files(data: ConfigDict) -> ImageFiles:
    """The images of a folder, of a list, or of NUS-WIDE.

    Raises:
      UserError: they are missing, damaged or none that can be used.
    """
    if not data.root:
        raise UserError(
            "data.root is empty; set it to a folder of classes, to a .csv or .jsonl file of paths "
            "and labels, or to the folder of NUS-WIDE."
        )
    folder = Path(data.image_root).expanduser() if data.image_root else None
    interpolation = data.get("interpolation", LANCZOS)
    if data.source == "nus_wide":
        listing = list_nus_wide(Path(data.root), images=folder)
    else:
        listing = list_images(Path(data.root), root=folder)
    images = load_images(
        listing,
        name="nus_wide" if data.source == "nus_wide" else listing.source.stem,
        collection=data.source,
        size=data.image_size,
        cache=Path(data.cache_dir),
        memory_limit_gb=data.memory_limit_gb,
        max_pixels=data.get("max_pixels", MOST_PIXELS),
        # "auto" is left only where no config says which network will take the images.
        interpolation=interpolation if interpolation in INTERPOLATIONS else LANCZOS,
    )
    if data.source == "nus_wide":
        return images
    return usable_classes(images, tests_are_queries=data.queries_per_class in (0, AUTOMATIC))
