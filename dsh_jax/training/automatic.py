"""Fields of a config that are automatic, as a network and its images set them."""

from ml_collections import ConfigDict

from dsh_jax.data.images.decoding import LANCZOS
from dsh_jax.data.images.loading import IMAGE_SIZE
from dsh_jax.fields import Integer
from dsh_jax.networks.backbones import BACKBONES

AUTOMATIC = -1
"""`data.image_size`: that of the network; `augment.crop_padding`: an eighth of the image's size;
`consistency.cutout`: half of it; `consistency.batch_size`: none with a frozen backbone."""
_MOST_AT_ONCE = 64  # large images that are encoded at a time: more would take gigabytes
SIZE = 64
"""Pixels per side for networks without published weights."""


def settled(config: ConfigDict) -> ConfigDict:
    """The config with its automatic fields set, as far as the config alone tells.

    What is set stays as it is, so that this can be done again. Fields with invalid values stay too,
    for whoever checks them.
    """
    if not all(isinstance(config.get(name), ConfigDict) for name in ("data", "representation")):
        return config
    config = config.copy_and_resolve_references().unlock()
    data, name = config.data, config.representation.get("name")
    backbone = BACKBONES.get(name) if isinstance(name, str) else None
    if data.get("image_size") == AUTOMATIC:
        data.image_size = backbone.image_size if backbone else SIZE
    if data.get("interpolation") == "auto":
        data.interpolation = backbone.interpolation if backbone else LANCZOS
    if "image_size" in data:
        # An invalid size is what the user should read of.
        size = data.image_size if IMAGE_SIZE.allows(data.image_size) else SIZE
        _set(config, "augment", "crop_padding", size // 8)
        _set(config, "consistency", "cutout", size // 2)
    at_once = config.get("encode_batch_size")
    if backbone and Integer(_MOST_AT_ONCE).allows(at_once):
        config.encode_batch_size = _MOST_AT_ONCE
    pretrained = config.get("pretrained")
    if backbone and isinstance(pretrained, ConfigDict) and pretrained.get("frozen") is True:
        _set(config, "consistency", "batch_size", 0)
    return config


def _set(config: ConfigDict, group: str, name: str, value: int) -> None:
    """Sets a field that is automatic."""
    settings = config.get(group)
    if isinstance(settings, ConfigDict) and settings.get(name) == AUTOMATIC:
        settings[name] = value
