"""The networks of a method by name, and how steps and encoders call them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax.data.signature import ImageInputs, Signature
from dsh_jax.devices import AXIS, Batch
from dsh_jax.errors import UserError
from dsh_jax.fields import Choice, Integer, Number, Switch
from dsh_jax.methods import kinds
from dsh_jax.methods.base import Network, NetworkRecipe, Params, State, Variables, variables
from dsh_jax.methods.views import Views
from dsh_jax.networks import backbones, representation
from dsh_jax.networks.backbones import BACKBONES
from dsh_jax.networks.graded import Graded
from dsh_jax.networks.streams import ClassificationStream, HashStream
from dsh_jax.pretrained import settings as pretrained
from dsh_jax.rng import named_key

ENCODER = ("representation", "hash", "classification")
"""The players that encode items; a method may lack some of them."""


@dataclass(frozen=True)
class Players:
    """A network that takes the items, and others that take its output.

    Attributes:
      networks: name -> network.
      first: the one that takes the items. Every other one takes its output, unless `inputs` says
        otherwise.
      sample: inputs of `first` for a batch of one or two items, to initialise it.
      inputs: name -> shapes of the inputs of one sample, for networks that do not take the first
        one's output.
      batch_norm: whether the output of `first` depends on the statistics of the batch.
      frozen: whether the part of `first` that is its `backbone` gets no gradient; its input does.
    """

    networks: Mapping[str, nn.Module]
    first: str
    sample: tuple[jax.Array, ...]
    inputs: Mapping[str, tuple[tuple[int, ...], ...]]
    batch_norm: bool = False
    frozen: bool = False

    def init_variables(self, key: jax.Array) -> dict[str, Any]:
        """Every player's variables; the key of a network depends on its name."""
        features, collections = self.networks[self.first].init_with_output(
            named_key(key, self.first), *self.sample, train=False
        )
        every = {self.first: collections}
        # In one order: the compilation cache knows a program by its text.
        for player in sorted(self.networks.keys() - {self.first}):
            shapes = self.inputs.get(player)
            arguments = [jnp.zeros((1, *shape)) for shape in shapes] if shapes else [features]
            every[player] = self.networks[player].init(
                named_key(key, player), *arguments, train=False
            )
        # A network without layers has no parameters.
        return {player: {"params": {}} | dict(found) for player, found in every.items()}

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
        every = self.init_variables(key)
        params = {player: c["params"] for player, c in every.items()}
        return State(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats={p: c["batch_stats"] for p, c in every.items() if "batch_stats" in c},
            opt_state={
                name: tx.init({player: params[player] for player in owners[name]})
                for name, tx in optimizers.items()
            },
            # Nothing in a frozen network changes, so that its average is itself.
            ema={
                player: every[player]
                for player in averaged
                if player in every and not (self.frozen and player == self.first)
            },
        )

    def apply(
        self, state: State, player: str, params: Params, *inputs: jax.Array, **options: Any
    ) -> tuple[jax.Array, dict[str, Any]]:
        """A player's output in training mode, and its new batch statistics under its name."""
        if self.frozen and player == self.first:
            params = {**params, "backbone": jax.lax.stop_gradient(params["backbone"])}
        collections = variables(state, player) | {"params": params}
        output, new = self.networks[player].apply(
            collections, *inputs, train=True, mutable=["batch_stats"], **options
        )
        return output, {player: new["batch_stats"]} if player in state.batch_stats else {}

    def represent(
        self, state: State, params: Params, *inputs: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Output of `first` in training mode; each device draws its own dropout."""
        dropout = jax.random.fold_in(key, jax.lax.axis_index(AXIS))
        return self.apply(state, self.first, params, *inputs, rngs={"dropout": dropout})

    def represent_apart(
        self,
        state: State,
        params: Params,
        parts: Sequence[tuple[jax.Array, bool]],
        *,
        key: jax.Array,
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Features of several parts of a batch, in training mode.

        In a network with batch normalisation, real and synthetic images have statistics of their
        own, and the running ones are those of the real images. Otherwise they pass together, unless
        the network is frozen.

        Args:
          state, params, key: as for `represent`.
          parts: images of each `[n_i, h, w, c]`, and whether they are real.

        Returns:
          Features of all parts, in their order, `[sum of n_i, features]`, and the network's new
          statistics under its name.
        """
        # A frozen network may get features of real images, beside synthetic images.
        if not (self.batch_norm or self.frozen):
            images = jnp.concatenate([images for images, _ in parts])
            return self.represent(state, params, images, key=key)
        features: dict[int, jax.Array] = {}
        stats: dict[str, Any] = {}
        for group in (True, False):
            members = [i for i, (_, is_real) in enumerate(parts) if is_real == group]
            if not members:
                continue
            images = jnp.concatenate([parts[i][0] for i in members])
            output, new = self.represent(state, params, images, key=key)
            ends = np.cumsum([len(parts[i][0]) for i in members])[:-1]
            features |= zip(members, jnp.split(output, ends), strict=True)
            stats |= new if group else {}
        return jnp.concatenate([features[i] for i in range(len(parts))]), stats

    def evaluate(self, kept: Variables, player: str, *inputs: jax.Array) -> jax.Array:
        """A player's output in evaluation mode."""
        # Files have no entry for a network without parameters.
        collections = kept.get(player, {})
        return jnp.asarray(self.networks[player].apply(collections, *inputs, train=False))


def image_players(config: ConfigDict, signature: Signature) -> Players:
    """Representation, hash stream and, unless `class_outputs` is off, classification stream.

    Their items are images or vectors.

    Raises:
      UserError: the representation is for the other kind.
    """
    kinds.kind_of(signature).check(config)
    settings = pretrained.of_config(config)
    networks: dict[str, nn.Module] = {
        "representation": build_representation(config, signature, settings),
        "hash": HashStream(config.num_bits, float(config.hash_stream.sharpness), AXIS),
    }
    if config.get("class_outputs", True):
        networks["classification"] = ClassificationStream(signature.num_classes)
    sample = (jnp.zeros((1, *signature.item_shape)),)
    of_representation = config.representation.name, config.representation.norm
    batch_norm, frozen = representation.uses_batch_statistics(*of_representation), False
    if settings is not None:
        batch_norm, frozen = settings.uses_batch_statistics, settings.frozen
    return Players(networks, "representation", sample, {}, batch_norm, frozen)


def build_representation(
    config: ConfigDict, signature: Signature, settings: pretrained.Settings | None
) -> nn.Module:
    """The representation of a config; `settings` are those of a pretrained one, else None."""
    options = {**config.representation, "dtype": jnp.dtype(config.dtype), "axis_name": AXIS}
    if settings is None:
        return representation.build(**options)
    assert isinstance(signature.inputs, ImageInputs)
    fixed = settings.frozen or settings.frozen_batch_norm
    return backbones.build(
        **options, image_shape=signature.inputs.shape, frozen_batch_norm=fixed,
        normalisation=signature.inputs.normalisation,
    )  # fmt: skip


def with_networks(
    players: Players,
    networks: Mapping[str, nn.Module],
    inputs: Mapping[str, tuple[tuple[int, ...], ...]],
) -> Players:
    """The players with further networks added."""
    return replace(
        players, networks={**players.networks, **networks}, inputs={**players.inputs, **inputs}
    )


def image_network(config: ConfigDict, signature: Signature) -> Network:
    """The network that makes codes.

    Its inputs are `image`, uint8 `[batch, height, width, channels]`, or `vector`, float32
    `[batch, width]`.
    """
    kind = kinds.kind_of(signature)
    to_float = kind.to_float(signature)
    players = image_players(config, signature)
    has_classes = "classification" in players.networks
    graded = Graded(**fields.floats(config.graded))
    views = Views(config.mirrored, config.shifted)
    _check_shift(config.shifted, signature, players.frozen)
    if config.head == "graded":
        if not has_classes:
            raise UserError("head is 'graded', which needs class outputs; set head to 'hash'.")
        graded.bits(signature.num_classes, config.num_bits)

    def features(kept: Variables, inputs: Batch) -> jax.Array:
        images = to_float(inputs[kind.entry])
        if images.ndim == 3:  # what `precompute` made of them
            images = jnp.concatenate([images[:, view] for view in range(1 + config.mirrored)])
        else:
            images = views.of(images)
        return players.evaluate(kept, "representation", images)

    def stream(kept: Variables, player: str, inputs: Batch) -> jax.Array:
        return views.mean(players.evaluate(kept, player, features(kept, inputs)))

    def encode(kept: Variables, inputs: Batch) -> jax.Array:
        if config.head == "hash":
            return nn.sigmoid(stream(kept, "hash", inputs))
        logits = stream(kept, "classification", inputs)
        single = signature.labels == "single"
        return nn.sigmoid(graded(logits, num_bits=config.num_bits, single=single))

    def classify(kept: Variables, inputs: Batch) -> jax.Array:
        return stream(kept, "classification", inputs)

    def represent(kept: Variables, inputs: Batch) -> jax.Array:
        return views.mean(features(kept, inputs).astype(jnp.float32))

    return Network(players.init_variables, encode, classify if has_classes else None, represent)


def _check_shift(shifted: int, signature: Signature, frozen: bool) -> None:
    """Refuses images that cannot be moved so far, and features that are computed once."""
    if not shifted:
        return
    if frozen:
        raise UserError(
            f"shifted is {shifted}, but the features of a frozen network are computed once, of "
            "images in their place; set shifted to 0."
        )
    size = min(signature.item_shape[:2])
    if shifted >= size:
        raise UserError(f"shifted is {shifted}, but images have {size} pixels; set it to less.")


ITEM_NETWORK = NetworkRecipe(
    kinds=tuple(kinds.KINDS),
    fields={
        "num_bits": Integer(1, 65536),
        "dtype": Choice(("float32", "bfloat16")),
        "representation.name": Choice((*representation.NAMES, *BACKBONES)),
        "representation.width": Integer(1, 65536),
        "representation.depth": Integer(0, 10_000),
        "representation.features": Integer(representation.AUTOMATIC, 65536),
        "representation.dropout": Number(least=0, below=1),
        "representation.norm": Choice(representation.NORMS),
        "representation.spectral_norm": Switch(),
        "hash_stream.sharpness": Number(least=0),
        "mirrored": Switch(),
        "shifted": Integer(0, 2**14),
        "head": Choice(("hash", "graded")),
        "graded.temperature": Number(above=0),
        "graded.middle": Number(),
        "graded.step": Number(least=0),
    },
    defaults={
        "mirrored": False, "shifted": 0, "head": "hash",
        "graded.temperature": 1.0, "graded.middle": 0.0, "graded.step": 1.0,
    },
    build=image_network,
)
"""Of methods that take images and vectors."""
IMAGE_NETWORK = replace(ITEM_NETWORK, kinds=(kinds.IMAGES.name,))
"""Of methods that take images alone."""
