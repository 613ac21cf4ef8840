"""What a config says of pretrained weights: the fields `pretrained`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from dsh_jax.errors import UserError
from dsh_jax.fields import Number, Rules, Switch, Text
from dsh_jax.networks.backbones import BACKBONES, layer_of
from dsh_jax.pretrained import hub, weights

DEFAULT = "default"
"""The value of `pretrained.weights` for `Backbone.hub`."""

FIELDS: Rules = {
    "pretrained.weights": Text(),
    "pretrained.frozen": Switch(),
    "pretrained.frozen_batch_norm": Switch(),
    "pretrained.learning_rate_scale": Number(least=0),
    "pretrained.layer_decay": Number(above=0),
}
"""The fields, which configs of other networks need not have."""


@dataclass(frozen=True)
class Settings:
    """How pretrained weights are used.

    Attributes:
      name: of the network, a key of `BACKBONES`.
      weights: a safetensors file, `hf://OWNER/NAME[/FILE]`, `DEFAULT`, or empty for random ones.
      frozen: whether the backbone stays as it is.
      frozen_batch_norm: whether its batch normalisation uses its running statistics in training,
        and keeps them.
      learning_rate_scale: of the backbone's learning rate.
      layer_decay: of the learning rate from each layer to the one before it.
    """

    name: str
    weights: str = ""
    frozen: bool = False
    frozen_batch_norm: bool = True
    learning_rate_scale: float = 1.0
    layer_decay: float = 1.0

    @property
    def uses_batch_statistics(self) -> bool:
        """Whether features of an image depend on the rest of a training batch."""
        is_free = not (self.frozen or self.frozen_batch_norm)
        return BACKBONES[self.name].has_batch_norm and is_free

    def file(self) -> Path | None:
        """The file with the weights, downloaded if need be; None for random ones.

        Raises:
          UserError: it cannot be had.
        """
        place = BACKBONES[self.name].hub if self.weights == DEFAULT else self.weights
        if self.weights == DEFAULT and not place:
            raise UserError(
                f"pretrained.weights is {DEFAULT!r}, but none are published for {self.name}; name "
                "a safetensors file, or leave it empty for random weights."
            )
        if place.startswith(hub.SCHEME):
            return hub.fetch(place)
        return Path(place).expanduser() if place else None

    def read(self, image_shape: tuple[int, int, int]) -> dict[str, Any] | None:
        """The backbone's variables for images `(height, width, channels)`; None for random ones.

        Raises:
          UserError: the file cannot be had, is damaged or of another network.
        """
        file = self.file()
        if file is None:
            return None
        backbone = BACKBONES[self.name].build(dtype=jnp.dtype("float32"), axis_name=None)
        return weights.variables(file, self.name, weights.shapes(backbone, image_shape))

    def rate_of(self, depth: int) -> Callable[[Sequence[str]], float]:
        """The factor of the learning rate of each of the backbone's parameters, by its path.

        Args:
          depth: of the deepest layer, as `layer_of` counts; what follows it is one deeper.
        """

        def factor(path: Sequence[str]) -> float:
            layer = layer_of(path)
            below = 0 if layer < 0 else depth + 1 - layer
            return self.learning_rate_scale * self.layer_decay**below

        return factor


def of_config(config: ConfigDict) -> Settings | None:
    """The settings of a config; None where its network has no published weights.

    The config of an encoder has none of the fields, as they matter in training alone.
    """
    name = config.representation.name
    if name not in BACKBONES:
        return None
    fields = config.get("pretrained", {})
    return Settings(
        name, fields.get("weights", ""), fields.get("frozen", False),
        fields.get("frozen_batch_norm", True), float(fields.get("learning_rate_scale", 1.0)),
        float(fields.get("layer_decay", 1.0)),
    )  # fmt: skip


def check(config: ConfigDict) -> None:
    """Refuses settings that contradict each other, and weights that cannot be used.

    It reads the weights, so that a mistake is found before the data is read.

    Raises:
      UserError: see above.
    """
    if "representation" not in config:
        return
    settings = of_config(config)
    if settings is None:
        given = config.get("pretrained", {}).get("weights", "")
        if given not in ("", DEFAULT):
            raise UserError(
                f"pretrained.weights is {given!r}, but representation.name is "
                f"{config.representation.name!r}, a network without published weights; set the "
                f"latter to one of {list(BACKBONES)}."
            )
        return
    size = BACKBONES[settings.name].image_size
    settings.read((size, size, 3))
