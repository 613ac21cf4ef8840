"""What a network takes from files and data before the first step, and features that stay fixed."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.images.augment import to_float
from dsh_jax.data.signature import Signature
from dsh_jax.devices import Batch
from dsh_jax.methods.base import State, variables
from dsh_jax.methods.players import Players, build_representation
from dsh_jax.networks import backbones, whitened
from dsh_jax.networks.backbones import Pretrained
from dsh_jax.pretrained import settings as pretrained

WHITENED_IMAGES = 5000
"""The most images that the whitening of patches is fitted to."""
STANDARDISED_IMAGES = 512
"""The most images that the standardisation of a backbone's features is fitted to."""
_AT_ONCE = 32  # images through a backbone, in that fit


def fit_to_images(config: ConfigDict) -> Callable[[State, Dataset, np.ndarray], State]:
    """What gives the state before the first step what its network takes from files and data.

    Args:
      config: of an experiment.

    Returns:
      A function as `Method.prepare` has it: of the state, a data set, and the ids of its
      training items `[n]`, of which some are read, evenly spread.
    """
    settings = pretrained.of_config(config)

    def fit(state: State, dataset: Dataset, ids: np.ndarray) -> State:
        def spread(most: int) -> np.ndarray:
            return dataset.take(ids[:: math.ceil(len(ids) / most)])["image"]

        stats = state.batch_stats.get("representation", {})
        if "whitening" in stats:
            images = np.asarray(to_float(jnp.asarray(spread(WHITENED_IMAGES))))
            return _with_representation(state, {"batch_stats": whitened.fit(stats, images)})
        if settings is None:
            return state
        images = spread(STANDARDISED_IMAGES)
        read = settings.read(images.shape[1:])
        if read is not None:
            state = _with_representation(state, {
                "params": {**state.params["representation"], "backbone": read["params"]},
                "batch_stats": {**stats, "backbone": read["batch_stats"]}
                if "batch_stats" in read else stats,
            })  # fmt: skip
        if read is None and not settings.frozen:
            return state  # random features hardly vary, and are about to change
        return _standardised(state, config, dataset.inputs, images)

    return fit


def _standardised(
    state: State, config: ConfigDict, inputs: Any, images: np.ndarray
) -> State:
    """The state with standardised features of some images, uint8 `[n, h, w, c]`."""
    signature = Signature(inputs, "single", ())
    settings = pretrained.of_config(config)
    backbone = build_representation(config, signature, settings)
    assert isinstance(backbone, Pretrained)
    raw = jax.jit(lambda kept, batch: backbone.apply(kept, to_float(batch), method="raw"))
    kept = variables(state, "representation")
    # The last batch repeats the last images, so that one program serves all.
    ends = range(0, len(images), _AT_ONCE)
    batches = [np.resize(images[at : at + _AT_ONCE], (_AT_ONCE, *images.shape[1:])) for at in ends]
    features = np.concatenate([np.asarray(raw(kept, batch)) for batch in batches])[: len(images)]
    fitted = backbones.standardise(features)
    stats = state.batch_stats["representation"] | {"standardised": fitted}
    return _with_representation(state, {"batch_stats": stats})


def _with_representation(state: State, collections: Mapping[str, Any]) -> State:
    """The state before the first step with other collections of the representation."""
    every = {
        "params": state.params["representation"],
        "batch_stats": state.batch_stats.get("representation", {}),
        **collections,
    }
    kept = {name: tree for name, tree in every.items() if tree}
    ema = state.ema | ({"representation": kept} if "representation" in state.ema else {})
    changed: dict[str, Any] = {
        name: {**getattr(state, name), "representation": tree} for name, tree in kept.items()
    }
    return replace(state, ema=ema, **changed)


def precompute(
    config: ConfigDict, players: Players
) -> Callable[[State, Batch], jax.Array] | None:
    """What computes the features of a frozen backbone, as `Method.precompute` has it."""
    if not players.frozen:
        return None
    network = players.networks["representation"]

    def of_images(state: State, inputs: Batch) -> jax.Array:
        images = to_float(inputs["image"])
        views = [images, images[:, :, ::-1]][: num_views(config)]
        kept = variables(state, "representation")
        return jnp.stack(
            [jnp.asarray(network.apply(kept, view, method="raw")) for view in views], axis=1
        )

    return of_images


def num_views(config: ConfigDict) -> int:
    """Views of an image whose features are computed: 2 with the mirror image, if it is needed."""
    return 2 if config.mirrored or config.augment.flip else 1
