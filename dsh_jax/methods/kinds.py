"""What items are to the networks and steps of a method: images, or vectors.

A step knows an item as `image`, `positive_image` and so on, whatever its kind.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax.data.images.augment import augment, to_float
from dsh_jax.data.images.strong import Strong
from dsh_jax.data.signature import ImageInputs, Signature, VectorInputs
from dsh_jax.data.vectors.augment import disturb
from dsh_jax.devices import AXIS
from dsh_jax.errors import UserError
from dsh_jax.fields import Number, Rules
from dsh_jax.methods.augmentation import NEUTRAL
from dsh_jax.networks import representation
from dsh_jax.networks.backbones import BACKBONES
from dsh_jax.networks.generator import Generator
from dsh_jax.networks.mlp import VectorGenerator
from dsh_jax.networks.residual_generator import ResidualGenerator
from dsh_jax.networks.resized import Resized

AUTOMATIC = -1
"""Synthetic images of the data's size; with a pretrained network of `SIZE` pixels, and resized."""
SIZE = 64

Augment = Callable[[jax.Array, jax.Array], jax.Array]
"""Keys `[batch]`, items -> items of the same shape and range."""

OPTIONAL: Rules = {
    f"{group}.{name}": rule
    for group in ("augment", "consistency")
    for name, rule in (("noise", Number(least=0)), ("drop", Number(least=0, below=1)))
}
"""Fields of vectors' views, which configs of images need not have."""


@dataclass(frozen=True)
class Kind:
    """Items of one kind.

    Attributes:
      name: as a signature's `inputs.kind`.
      entry: what `Dataset.take` calls them.
      representations: names of the networks that take them.
      generators: name -> function from config and signature to the network that draws them.
      to_float: signature -> function from `entry` to what networks take.
      weak: the fields `augment` of a config, names of those that a method reads -> weak views.
      strong: the fields `consistency` -> strong views, made of weak ones.
      foreign: config field -> its value where it does nothing, for fields of the other kind.
    """

    name: str
    entry: str
    representations: tuple[str, ...]
    generators: Mapping[str, Callable[..., nn.Module]]
    to_float: Callable[[Signature], Callable[[jax.Array], jax.Array]]
    weak: Callable[[ConfigDict, tuple[str, ...]], Augment]
    strong: Callable[[ConfigDict], Augment]
    foreign: Mapping[str, Any]

    def as_images(self, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """A data set's batch with the names that steps have for items."""
        return {name.removesuffix(self.entry) + "image" if name.endswith(self.entry) else name: x
                for name, x in batch.items()}  # fmt: skip

    def check(self, config: ConfigDict) -> None:
        """Refuses networks and fields of the other kind.

        Raises:
          UserError: names the field and what to set it to.
        """
        chosen = {"representation": self.representations}
        if config.get("gan", False):
            chosen["generator"] = tuple(self.generators)
        for group, names in chosen.items():
            if config[group].name not in names:
                raise UserError(
                    f"{group}.name is {config[group].name!r}, but the data is {self.name}; set it "
                    f"to {' or '.join(map(repr, names))}."
                )
        for name, neutral in self.foreign.items():
            value = fields.get(config, name) if fields.has(config, name) else neutral
            if value != neutral:
                raise UserError(
                    f"{name} is {value!r}, which is not for {self.name}; set it to {neutral!r}."
                )


def kind_of(signature: Signature) -> Kind:
    """The kind of a signature's items.

    Raises:
      UserError: the method takes images or vectors, and these are neither.
    """
    kind = signature.inputs.kind
    if kind not in KINDS:
        raise UserError(f"the data is {kind}; this method takes {' or '.join(KINDS)}.")
    return KINDS[kind]


def _float_images(signature: Signature) -> Callable[[jax.Array], jax.Array]:
    return to_float


def _weak_images(settings: ConfigDict, names: tuple[str, ...]) -> Augment:
    known = {**NEUTRAL, **settings}
    return partial(augment, **{name: known[name] for name in names})


def _strong_images(settings: ConfigDict) -> Augment:
    distortions = {name: settings[name] for name in Strong.__dataclass_fields__}
    return Strong(**fields.floats(distortions) | {"cutout": settings.cutout})


def _draws_images(generator: type[Generator]) -> Callable[..., nn.Module]:
    def build(config: ConfigDict, signature: Signature) -> nn.Module:
        assert isinstance(signature.inputs, ImageInputs)
        height, width, channels = shape = signature.inputs.shape
        size = config.generator.get("image_size", AUTOMATIC)
        if size == AUTOMATIC and config.representation.name in BACKBONES:
            size = min(height, SIZE)
        drawn = shape if size == AUTOMATIC else (size, size, channels)
        network = generator(drawn, config.generator.width, AXIS, jnp.dtype(config.dtype))
        return network if drawn[:2] == shape[:2] else Resized(network, (height, width))

    return build


def _float_vectors(signature: Signature) -> Callable[[jax.Array], jax.Array]:
    assert isinstance(signature.inputs, VectorInputs)
    # Of length 1, a vector has entries far below 1, where networks would learn slowly.
    on_sphere = signature.inputs.normalise == "l2"
    scale = np.float32(np.sqrt(signature.inputs.width) if on_sphere else 1.0)
    return lambda vectors: vectors.astype(jnp.float32) * scale


def _disturbed(settings: ConfigDict, names: tuple[str, ...] = ()) -> Augment:
    del names  # all methods disturb vectors alike
    return partial(disturb, noise=settings.get("noise", 0.0), drop=settings.get("drop", 0.0))


def _draws_vectors(config: ConfigDict, signature: Signature) -> nn.Module:
    inputs, width = signature.inputs, config.generator.width
    assert isinstance(inputs, VectorInputs)
    dtype = jnp.dtype(config.dtype)
    return VectorGenerator(inputs.shape, width, AXIS, dtype, inputs.normalise == "l2")


IMAGES = Kind(
    name=ImageInputs.kind,
    entry="image",
    representations=(*representation.OF_IMAGES, *BACKBONES),
    generators={"dcgan": _draws_images(Generator), "residual": _draws_images(ResidualGenerator)},
    to_float=_float_images,
    weak=_weak_images,
    strong=_strong_images,
    foreign=dict.fromkeys(OPTIONAL, 0.0),
)
VECTORS = Kind(
    name=VectorInputs.kind,
    entry="vector",
    representations=("mlp",),
    generators={"dense": _draws_vectors},
    to_float=_float_vectors,
    weak=_disturbed,
    strong=_disturbed,
    foreign={
        "augment.crop_padding": 0, "augment.flip": False, "augment.cutout": 0, "mirrored": False,
        "shifted": 0,
        **{f"consistency.{name}": 0 for name in Strong.__dataclass_fields__},
        **{f"augment.{name}": value for name, value in NEUTRAL.items()},
        "generator.image_size": AUTOMATIC,
        "judge": "",
    },
)
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (IMAGES, VECTORS)}
"""The kinds by name."""
