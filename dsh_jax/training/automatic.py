"""Fields of a config that are automatic, as a network and its images set them."""

from ml_collections import ConfigDict

from dsh_jax.data import loading
from dsh_jax.data.images.decoding import LANCZOS
from dsh_jax.networks.backbones import BACKBONES
from dsh_jax.pretrained import settings as pretrained

AUTOMATIC = -1
"""`data.image_size`: that of the network; `augment.crop_padding`: an eighth of the image's size;
`consistency.cutout`: half of it; `consistency.batch_size`: none with a frozen backbone."""
SIZE = 64
"""Pixels per side for networks without published weights."""


def settled(config: ConfigDict) -> ConfigDict:
    """The config with its automatic fields set, as far as the config alone tells.

    What is set stays as it is, so that this can be done again. A config without the groups of
    fields that matter here is returned as it is.
    """
    groups = [config.get(name) for name in ("data", "representation")]
    if not all(isinstance(group, ConfigDict) for group in groups):
        return config
    config = config.copy_and_resolve_references().unlock()
    data = config.data
    backbone = BACKBONES.get(config.representation.get("name"))
    if data.get("image_size") == AUTOMATIC:
        data.image_size = backbone.image_size if backbone else SIZE
    if data.get("interpolation") == "auto":
        data.interpolation = backbone.interpolation if backbone else LANCZOS
    shape = loading.image_shape_of(data) if "source" in data else None
    for group, name, share in (("augment", "crop_padding", 8), ("consistency", "cutout", 2)):
        settings = config.get(group)
        is_open = isinstance(settings, ConfigDict) and settings.get(name) == AUTOMATIC
        if is_open and shape is not None:
            settings[name] = shape[0] // share
    consistency = config.get("consistency")
    if backbone and isinstance(consistency, ConfigDict):
        settings = pretrained.of_config(config)
        if settings and settings.frozen and consistency.get("batch_size") == AUTOMATIC:
            consistency.batch_size = 0
    return config
