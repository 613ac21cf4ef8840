"""Optimizers as a config describes them."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax.fields import Choice, Integer, Number, Rule, Rules
from dsh_jax.networks.backbones import layer_of
from dsh_jax.pretrained import settings as pretrained

NAMES = ("adam", "sgd")
SCHEDULES = ("constant", "linear", "cosine", "quarter_cosine")


def optimizer(
    *,
    name: str,
    learning_rate: float,
    b1: float,
    b2: float,
    weight_decay: float,
    schedule: str,
    warmup_steps: int,
    clip_norm: float,
    num_steps: int,
) -> optax.GradientTransformation:
    """Adam or SGD with decoupled weight decay on kernels, a schedule and clipping.

    Args:
      name: one of `NAMES`; "sgd" has Nesterov's momentum.
      learning_rate: peak learning rate.
      b1: decay of the first moment; the momentum of "sgd".
      b2: decay of the second moment; "sgd" has none.
      weight_decay: of kernels, not of biases and scales; 0 is none.
      schedule: one of `SCHEDULES`; all but "constant" fall to 0 at the last step, "quarter_cosine"
        as `cos(t pi / 2)`, which stays high for longer than "cosine".
      warmup_steps: steps of linear warm-up from 0.
      clip_norm: largest global norm of a gradient; 0 is no clipping.
      num_steps: number of updates that the optimizer will make.

    Raises:
      KeyError: an unknown name or schedule.
    """
    rate = _rate(learning_rate, schedule, warmup_steps, num_steps)
    kernels = lambda params: jax.tree.map(lambda p: jnp.ndim(p) > 1, params)  # noqa: E731
    optimizers = {
        "adam": lambda: optax.adamw(rate, b1=b1, b2=b2, weight_decay=weight_decay, mask=kernels),
        "sgd": lambda: optax.chain(
            optax.trace(b1, nesterov=True),
            optax.add_decayed_weights(weight_decay, mask=kernels),
            optax.scale_by_learning_rate(rate),
        ),
    }
    tx = optimizers[name]()
    if clip_norm > 0:
        return optax.chain(optax.clip_by_global_norm(clip_norm), tx)
    return tx


def _rate(
    learning_rate: float, schedule: str, warmup_steps: int, num_steps: int
) -> optax.Schedule:
    """Number of updates made -> learning rate of the next one; arguments as for `optimizer`."""
    decay_steps = max(1, num_steps - warmup_steps)
    schedules = {
        "constant": lambda: optax.constant_schedule(learning_rate),
        "linear": lambda: optax.linear_schedule(learning_rate, 0.0, decay_steps),
        "cosine": lambda: optax.cosine_decay_schedule(learning_rate, decay_steps),
        "quarter_cosine": lambda: _quarter_cosine(learning_rate, decay_steps),
    }
    return optax.join_schedules(
        [optax.linear_schedule(0.0, learning_rate, warmup_steps), schedules[schedule]()],
        [warmup_steps],
    )


def _quarter_cosine(peak: float, num_steps: int) -> optax.Schedule:
    def rate(count: jax.Array) -> jax.Array:
        return peak * jnp.cos(jnp.minimum(count / num_steps, 1.0) * jnp.pi / 2)

    return rate


def fields_of(*names: str) -> dict[str, Rule]:
    """The rules of `optimizer.<name>` for each name."""
    rules: Rules = {
        "name": Choice(NAMES),
        "learning_rate": Number(least=0),
        "b1": Number(least=0, below=1),
        "b2": Number(least=0, below=1),
        "weight_decay": Number(least=0),
        "schedule": Choice(SCHEDULES),
        "warmup_steps": Integer(0, 10**9),
        "clip_norm": Number(least=0),
    }
    return {f"optimizer.{name}.{key}": rule for name in names for key, rule in rules.items()}


def build_optimizer(
    config: ConfigDict, name: str, num_steps: int
) -> optax.GradientTransformation:
    """The optimizer that `config.optimizer.<name>` describes, for `num_steps` updates.

    It takes parameters as `State.params` has them, player -> parameters.
    """
    settings = dict(config.optimizer[name])
    warmup_steps = settings.pop("warmup_steps")
    tx = optimizer(**fields.floats(settings), warmup_steps=warmup_steps, num_steps=num_steps)
    backbone = pretrained.of_config(config) if "representation" in config else None
    return tx if backbone is None else for_backbone(tx, backbone)


def for_backbone(
    tx: optax.GradientTransformation, settings: pretrained.Settings
) -> optax.GradientTransformation:
    """The optimizer with learning rates of its own for the layers of a backbone, or none."""

    def path_of(keys: tuple[Any, ...]) -> tuple[str, ...]:
        """A parameter's path in the backbone; empty for one that is elsewhere."""
        names = tuple(entry.key for entry in keys)
        return names[2:] if names[:2] == ("representation", "backbone") else ()

    def kinds(params: Any) -> Any:
        return jax.tree.map_with_path(
            lambda keys, _: "fixed" if path_of(keys) else "learned", params
        )

    if settings.frozen:
        return optax.multi_transform({"learned": tx, "fixed": optax.set_to_zero()}, kinds)
    if settings.learning_rate_scale == settings.layer_decay == 1:
        return tx

    def scaled(updates: Any, params: Any = None) -> Any:
        del params
        paths = [path_of(keys) for keys, _ in jax.tree.leaves_with_path(updates)]
        factor = settings.rate_of(max((layer_of(path) for path in paths if path), default=0))
        return jax.tree.map_with_path(
            lambda keys, update: update * factor(path) if (path := path_of(keys)) else update,
            updates,
        )

    return optax.chain(tx, optax.stateless(scaled))


def learning_rates(
    config: ConfigDict, num_updates: Mapping[str, int]
) -> Callable[[jax.Array], dict[str, jax.Array]]:
    """The learning rates of the optimizers that a config describes, as `Method` has them.

    Args:
      config: with `optimizer.<name>` for each name.
      num_updates: name -> updates that this optimizer will make, the last one at the last step.

    Returns:
      Number of a step, from 1 -> name -> learning rate; before its first update that of the first.
    """
    last = max(num_updates.values())
    rates = {}
    for name, count in num_updates.items():
        settings = config.optimizer[name]
        peak, warmup_steps = float(settings.learning_rate), settings.warmup_steps
        rates[name] = _rate(peak, settings.schedule, warmup_steps, count)

    def at(step: jax.Array) -> dict[str, jax.Array]:
        done = {name: jnp.maximum(step - 1 - (last - n), 0) for name, n in num_updates.items()}
        return {name: jnp.asarray(rate(done[name])) for name, rate in rates.items()}

    return at
