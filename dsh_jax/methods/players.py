"""The networks of a method by name, and how steps and evaluation call them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from dsh_jax.data.images.augment import to_float
from dsh_jax.devices import AXIS, Batch
from dsh_jax.errors import UserError
from dsh_jax.methods.base import Params, State, check_choices, variables
from dsh_jax.networks import representation
from dsh_jax.networks.streams import ClassificationStream, HashStream
from dsh_jax.rng import named_key

ENCODER = ("representation", "hash", "classification")
"""The players that evaluation needs, as far as a method has them."""


def build_encoder(
    config: ConfigDict, num_classes: int, *, classification: bool
) -> dict[str, nn.Module]:
    """The networks that make codes, and the classification stream, as a config describes them.

    Args:
      config: a whole experiment's config.
      num_classes: outputs of the classification stream.
      classification: whether there is one.

    Raises:
      UserError: a field whose value cannot be.
    """
    if config.num_bits < 1:
        raise UserError(f"num_bits is {config.num_bits}; set it to 1 or more.")
    check_choices({"dtype": (config.dtype, ("float32", "bfloat16"))})
    networks: dict[str, nn.Module] = {
        "representation": representation.build(
            **config.representation, dtype=jnp.dtype(config.dtype)
        ),
        "hash": HashStream(config.num_bits, config.hash_stream.sharpness, AXIS),
    }
    if classification:
        networks["classification"] = ClassificationStream(num_classes)
    return networks


@dataclass(frozen=True)
class Players:
    """A shared representation, streams on its features, and whatever else a method plays with.

    Attributes:
      networks: name -> network; "representation" maps images to features `[batch, features]`, and
        every network that `inputs` does not name maps these on.
      image_shape: `(height, width, channels)`.
      inputs: name -> shapes of the inputs of one sample, for networks that do not take features.
    """

    networks: Mapping[str, nn.Module]
    image_shape: tuple[int, int, int]
    inputs: Mapping[str, tuple[tuple[int, ...], ...]]

    def init(
        self,
        key: jax.Array,
        optimizers: Mapping[str, optax.GradientTransformation],
        owners: Mapping[str, Iterable[str]],
        averaged: Iterable[str],
    ) -> State:
        """The state before the first step.

        Args:
          key: of the parameters.
          optimizers: by name.
          owners: optimizer's name -> the players that it updates.
          averaged: players whose moving average is kept.
        """
        features, collections = self.networks["representation"].init_with_output(
            named_key(key, "representation"), jnp.zeros((1, *self.image_shape)), train=False
        )
        every = {"representation": collections}
        for player in self.networks.keys() - {"representation"}:
            shapes = self.inputs.get(player)
            arguments = [jnp.zeros((1, *shape)) for shape in shapes] if shapes else [features]
            every[player] = self.networks[player].init(
                named_key(key, player), *arguments, train=False
            )
        params = {player: c["params"] for player, c in every.items()}
        return State(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats={p: c["batch_stats"] for p, c in every.items() if "batch_stats" in c},
            opt_state={
                name: tx.init({player: params[player] for player in owners[name]})
                for name, tx in optimizers.items()
            },
            ema={player: dict(every[player]) for player in averaged if player in every},
        )

    def apply(
        self, state: State, player: str, params: Params, *inputs: jax.Array, **options: Any
    ) -> tuple[jax.Array, dict[str, Any]]:
        """A player's output in training mode, and its new batch statistics by its name."""
        collections = variables(state, player) | {"params": params}
        output, new = self.networks[player].apply(
            collections, *inputs, train=True, mutable=["batch_stats"], **options
        )
        return output, {player: new["batch_stats"]} if player in state.batch_stats else {}

    def represent(
        self, state: State, params: Params, images: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Features of images in training mode; each device draws dropout of its own."""
        dropout = jax.random.fold_in(key, jax.lax.axis_index(AXIS))
        return self.apply(state, "representation", params, images, rngs={"dropout": dropout})

    def evaluate(self, state: State, player: str, *inputs: jax.Array) -> jax.Array:
        """A player's output in evaluation mode, of the averaged parameters where there are any."""
        collections = state.ema.get(player, variables(state, player))
        return jnp.asarray(self.networks[player].apply(collections, *inputs, train=False))

    def encode(self, state: State, inputs: Batch) -> jax.Array:
        """Relaxed codes `[batch, num_bits]` of `image`, uint8 `[batch, h, w, c]`."""
        features = self.evaluate(state, "representation", to_float(inputs["image"]))
        return nn.sigmoid(self.evaluate(state, "hash", features))

    def classify(self, state: State, inputs: Batch) -> jax.Array:
        """Class logits `[batch, classes]` of `image`, uint8 `[batch, h, w, c]`."""
        features = self.evaluate(state, "representation", to_float(inputs["image"]))
        return self.evaluate(state, "classification", features)
