"""Optimizers as a config describes them."""

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax.fields import Choice, Integer, Number, Rule, Rules

SCHEDULES = ("constant", "linear", "cosine")


def optimizer(
    *,
    learning_rate: float,
    b1: float,
    b2: float,
    weight_decay: float,
    schedule: str,
    warmup_steps: int,
    clip_norm: float,
    num_steps: int,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay on kernels, a schedule and clipping.

    Args:
      learning_rate: peak learning rate.
      b1, b2: decay of the first and second moment.
      weight_decay: of kernels, not of biases and scales; 0 is plain Adam.
      schedule: one of `SCHEDULES`; "linear" and "cosine" fall to 0 at the last step.
      warmup_steps: steps of linear warm-up from 0.
      clip_norm: largest global norm of a gradient; 0 is no clipping.
      num_steps: number of updates that the optimizer will make.

    Raises:
      KeyError: an unknown schedule.
    """
    decay_steps = max(1, num_steps - warmup_steps)
    schedules = {
        "constant": lambda: optax.constant_schedule(learning_rate),
        "linear": lambda: optax.linear_schedule(learning_rate, 0.0, decay_steps),
        "cosine": lambda: optax.cosine_decay_schedule(learning_rate, decay_steps),
    }
    rate = optax.join_schedules(
        [optax.linear_schedule(0.0, learning_rate, warmup_steps), schedules[schedule]()],
        [warmup_steps],
    )
    kernels = lambda params: jax.tree.map(lambda p: jnp.ndim(p) > 1, params)  # noqa: E731
    adam = optax.adamw(rate, b1=b1, b2=b2, weight_decay=weight_decay, mask=kernels)
    if clip_norm > 0:
        return optax.chain(optax.clip_by_global_norm(clip_norm), adam)
    return adam


def fields_of(*names: str) -> dict[str, Rule]:
    """The rules of `optimizer.<name>` for each name."""
    rules: Rules = {
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
    """The optimizer that `config.optimizer.<name>` describes, for `num_steps` updates."""
    settings = dict(config.optimizer[name])
    warmup_steps = settings.pop("warmup_steps")
    return optimizer(**fields.floats(settings), warmup_steps=warmup_steps, num_steps=num_steps)
