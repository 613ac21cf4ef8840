"""Shared by the configs that read images from files; every field has a comment."""

from ml_collections import ConfigDict


def get_config(config: ConfigDict, source: str, image_size: int) -> ConfigDict:
    """A config with the fields of image files in its `data`.

    Args:
      config: of any method for images.
      source: image_files | nus_wide.
      image_size: pixels per side; -1 for what the network takes.
    """
    config.data.source = source
    # A folder whose sub-folders are the classes; a .csv or .jsonl file of paths and labels; or the
    # folder of NUS-WIDE.
    config.data.root = ""
    config.data.image_root = ""  # what paths in a file are relative to; empty is the file's folder
    # Images are cropped to a square and resized to this, once; -1 is what the network takes.
    config.data.image_size = image_size
    config.data.interpolation = "auto"  # auto: the network's | lanczos | bicubic | bilinear
    # Larger images are left out, and so are files of more than three bytes for each pixel.
    config.data.max_pixels = 89_478_485
    config.data.cache_dir = "~/.cache/dsh_jax/images"  # where resized images are kept
    # Limit for pixels kept in memory, in 10^9 bytes; larger data is streamed from the cache.
    config.data.memory_limit_gb = 4.0
    # single: softmax | multi: sum of sigmoids | auto: depends on the images' labels
    config.loss.labels = "auto"
    return config
