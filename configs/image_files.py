"""What the configs share that read images from files; every field says what it means."""

from ml_collections import ConfigDict


def get_config(config: ConfigDict, source: str, image_size: int) -> ConfigDict:
    """A config with the fields of image files in its `data`.

    Args:
      config: of any method for images.
      source: image_files | nus_wide.
      image_size: pixels a side.
    """
    config.data.source = source
    # A folder whose sub-folders are the classes; a .csv or .jsonl file of paths and labels; or the
    # folder of NUS-WIDE.
    config.data.root = ""
    config.data.image_root = ""  # where the paths in a file start; empty is the file's folder
    config.data.image_size = image_size  # images are cut to a square and resized to this, once
    config.data.cache_dir = "~/.cache/dsh_jax/images"  # where resized images are kept
    # Pixels that may be held in memory, in 10^9 bytes; more are streamed from the cache.
    config.data.memory_limit_gb = 4.0
    config.data.dry_run = False  # count and show the images, and train nothing
    # single: softmax | multi: sum of sigmoids | auto: as the images have their labels
    config.loss.labels = "auto"
    return config
