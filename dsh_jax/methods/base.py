"""The interface of a method to training and evaluation, and code that methods share.

A method is a dataclass of pure functions over pytrees; the training loop needs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy  # loads scipy.sparse when it is first used
from flax import struct
from ml_collections import ConfigDict

from dsh_jax.data.batches import BatchSpec
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.images.augment import to_float
from dsh_jax.data.signature import Signature
from dsh_jax.data.splits.split import Split
from dsh_jax.devices import Batch, mean_over_devices
from dsh_jax.fields import Rules
from dsh_jax.rng import named_key, sample_keys

Params = Any
Variables = Mapping[str, Any]
Metrics = dict[str, jax.Array]


@struct.dataclass
class State:
    """Everything that training changes; the same tree is checkpointed.

    Attributes:
      step: steps done, over all stages, int32 scalar.
      params: player -> parameters, float32.
      batch_stats: player -> running statistics, for the players that have any.
      opt_state: optimizer's name -> its state.
      ema: player -> moving average of its parameters and of its statistics, as
        `{"params": ..., "batch_stats": ...}`; empty when averaging is off.
    """

    step: jax.Array
    params: dict[str, Params]
    batch_stats: dict[str, Any]
    opt_state: dict[str, optax.OptState]
    ema: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Fitted:
    """What a method in closed form has learned.

    Attributes:
      state: after training.
      codes: packed codes of the training items, uint8 `[n, ceil(num_bits / 8)]` in the order of
        `split.training`, that these items have in the database in place of the network's; None for
        the network's.
    """

    state: State
    codes: np.ndarray | None = None


Step = Callable[[State, Batch, jax.Array], tuple[State, Metrics]]
Report = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Stage:
    """A part of the training with one step function.

    Attributes:
      name: prefix of its metrics' names.
      num_steps: its number of steps.
      step: `(state, batch, key) -> (state, metrics)`, to be run under the axis `AXIS`. `key` is
        the same at every step; the step folds `state.step` into it.
      batch: what its batches hold.
    """

    name: str
    num_steps: int
    step: Step
    batch: BatchSpec


@dataclass(frozen=True)
class Network:
    """The part of a method that is kept after training: functions from items to codes.

    Attributes:
      init: key -> variables: player -> its Flax collections.
      encode: variables, inputs as `Dataset.take` gives them -> relaxed codes `[batch, num_bits]`; a
        bit is 1 where the code is above 1/2.
      classify: variables, inputs -> class logits `[batch, classes]`; None where there is no
        classifier.
      represent: variables, inputs -> features `[batch, features]`, from which codes and logits are
        computed; None where there are none in between.
      encode_sparse: variables on the host, features of documents as `Dataset.features` gives them
        -> what `encode` returns, up to rounding; for a network that is one sparse product, which
        the CPU does faster without padded rows. None for others.
    """

    init: Callable[[jax.Array], Variables]
    encode: Callable[[Variables, Batch], jax.Array]
    classify: Callable[[Variables, Batch], jax.Array] | None = None
    represent: Callable[[Variables, Batch], jax.Array] | None = None
    encode_sparse: Callable[[Variables, scipy.sparse.csr_array], np.ndarray] | None = None


@dataclass(frozen=True)
class ImageSource:
    """The part of a method that draws synthetic images.

    Attributes:
      init: key -> variables: player -> its Flax collections.
      draw: variables (others may be among them), key, class vectors `[batch, classes]` -> images
        in [-1, 1], float32 `[batch, height, width, channels]`.
    """

    init: Callable[[jax.Array], Variables]
    draw: Callable[[Variables, jax.Array, jax.Array], jax.Array]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to learn codes.

    Attributes:
      codes: name of its codes in a result.
      network: what is kept after training.
      init: key -> the state before the first step.
      stages: run in this order; empty for a method in closed form.
      synthesize: state, key, labels `[batch, classes]` -> images in [-1, 1], for a method that
        generates images.
      fit: dataset, split, report -> what is learned, for a method in closed form; it calls
        `report` with the number and the metrics of each iteration.
      learn_targets: dataset, ids of the training items `[n]` -> their targets `[n, num_bits]`, and
        a line for the log. It runs before the first step; every batch then holds the targets of
        its items as `target`.
      prepare: state, dataset, ids of the training items `[n]` -> the state before the first step,
        for networks with layers that are fitted to the data.
      precompute: state, inputs as `Dataset.take` gives them -> what a part of the network that is
        never trained makes of images, `[batch, views, features]`: of the image and, if there are
        two views, of its mirror image. Encoding and steps take it in place of images. None where
        there is no such part, or images are needed themselves.
      learning_rates: number of a step, from 1 -> the learning rate of each optimizer at it, by the
        name of the optimizer; to be logged.
      shared: name -> size of each part of a batch that is split equally among the devices.
    """

    codes: str
    network: Network
    init: Callable[[jax.Array], State]
    stages: tuple[Stage, ...] = ()
    synthesize: Callable[[State, jax.Array, jax.Array], jax.Array] | None = None
    fit: Callable[[Dataset, Split, Report], Fitted] | None = None
    learn_targets: Callable[[Dataset, np.ndarray], tuple[np.ndarray, str]] | None = None
    prepare: Callable[[State, Dataset, np.ndarray], State] | None = None
    precompute: Callable[[State, Batch], jax.Array] | None = None
    learning_rates: Callable[[jax.Array], dict[str, jax.Array]] | None = None
    shared: Mapping[str, int] = field(default_factory=dict)

    @property
    def num_steps(self) -> int:
        """Total number of steps, over all stages."""
        return sum(stage.num_steps for stage in self.stages)

    def encode(self, state: State, inputs: Batch) -> jax.Array:
        """Relaxed codes `[batch, num_bits]`, from the averaged network if an average is kept."""
        return self.network.encode(kept_variables(state), inputs)


@dataclass(frozen=True)
class NetworkRecipe:
    """How to build the network that makes codes.

    Attributes:
      kinds: of items that it takes: "images", "vectors", "documents".
      fields: the config fields that it reads, each with its rule. They are kept with the
        parameters, so that the network can be built again without the rest of the config.
      build: config, signature -> the network.
      defaults: values of fields that encoders of earlier versions do not have.
      renamed: names of fields in earlier versions -> their names now.
    """

    kinds: tuple[str, ...]
    fields: Rules
    build: Callable[[ConfigDict, Signature], Network]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A method as `METHODS` lists it.

    Attributes:
      build: config, signature -> the method. The config's fields are already checked.
      fields: the config fields that it reads besides the network's, each with its rule.
      network: how its network is built.
      images: config, signature -> what draws its synthetic images, None where a config has none. It
        imports nothing that the config names.
      optional: fields that it reads if they are there: configs of earlier versions, or for other
        data, need not have them.
    """

    build: Callable[[ConfigDict, Signature], Method]
    fields: Rules
    network: NetworkRecipe
    images: Callable[[ConfigDict, Signature], ImageSource | None] | None = None
    optional: Rules = field(default_factory=dict)


def augmented(
    augment: Callable[[jax.Array, jax.Array], jax.Array],
    batch: Batch,
    key: jax.Array,
    to_float: Callable[[jax.Array], jax.Array] = to_float,
) -> dict[str, jax.Array]:
    """The batch with all items augmented, as networks take them: images in [-1, 1].

    Args:
      augment: keys `[batch]`, items -> items of the same shape and range.
      batch: entries whose name ends in "image" are items; images are uint8.
      key: this step's key; each kind of image and each sample gets its own key from it.
      to_float: from items of the batch to what networks take.
    """
    positions = {"unlabeled_image": "unlabeled_position"}
    return dict(batch) | {
        name: augment(
            sample_keys(named_key(key, name), batch[positions.get(name, "position")]),
            to_float(images),
        )
        for name, images in batch.items()
        if name.endswith("image")
    }


def update(
    state: State,
    name: str,
    players: tuple[str, ...],
    tx: optax.GradientTransformation,
    loss_fn: Callable[[dict[str, Params]], tuple[jax.Array, tuple[Metrics, dict[str, Any]]]],
) -> tuple[State, Metrics]:
    """Updates the players of one optimizer, with gradients averaged over the devices.

    Args:
      state: the state before.
      name: the optimizer's, in `state.opt_state` and as the metrics' prefix.
      players: whose parameters it changes.
      tx: the optimizer.
      loss_fn: the players' params -> loss, (metrics, new batch statistics by player).

    Returns:
      The state after (same `step`) and the metrics, with `loss` and `grad_norm` added.
    """
    owned = {player: state.params[player] for player in players}
    with jax.named_scope(name):  # profiles tell the updates apart by it
        (loss, (metrics, stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(owned)
    # The whole tree in one call: many small all-reduces deadlock on simulated CPU devices.
    grads, metrics = mean_over_devices((grads, metrics | {"loss": loss}))
    with jax.named_scope("optimizer"):
        updates, opt_state = tx.update(grads, state.opt_state[name], owned)
    metrics["grad_norm"] = optax.tree.norm(grads)
    state = replace(
        state,
        params=state.params | optax.apply_updates(owned, updates),
        batch_stats=state.batch_stats | stats,
        opt_state=state.opt_state | {name: opt_state},
    )
    return state, {f"{name}/{key}": value for key, value in metrics.items()}


def advance(state: State, ema_decay: float) -> State:
    """Ends a step: counts it and moves the averages towards the new parameters."""
    # Early on the average follows closely, so that it does not remember the initial weights.
    decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
    current = {player: variables(state, player) for player in state.ema}
    ema = optax.incremental_update(current, state.ema, 1 - decay)
    return replace(state, step=state.step + 1, ema=ema)


def variables(state: State, player: str) -> dict[str, Any]:
    """A player's variables as Flax's `apply` takes them."""
    collections = {"params": state.params[player]}
    if player in state.batch_stats:
        collections["batch_stats"] = state.batch_stats[player]
    return collections


def kept_variables(state: State) -> dict[str, Any]:
    """Every player's variables for use after training: the average if one is kept."""
    return {player: state.ema.get(player, variables(state, player)) for player in state.params}
