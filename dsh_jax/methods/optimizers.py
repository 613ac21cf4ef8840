"""Optimizers as a config describes them."""

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from dsh_jax.errors import UserError
from dsh_jax.methods.base import check_choices

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
      schedule: one of `SCHEDULES`; "linear" and "cosine" go down to 0 at the last step.
      warmup_steps: steps of linear warm-up from 0.
      clip_norm: largest global norm of a gradient; 0 does not clip.
      num_steps: how many updates the optimizer will make.

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


def build_optimizer(
    config: ConfigDict, name: str, num_steps: int
) -> optax.GradientTransformation:
    """The optimizer that `config.optimizer.<name>` describes, for `num_steps` updates.

    Raises:
      UserError: a field whose value cannot be.
    """
    fields = config.optimizer[name]
    for field in ("learning_rate", "weight_decay", "warmup_steps", "clip_norm", "b1", "b2"):
        if fields[field] < 0 or (field in ("b1", "b2") and fields[field] >= 1):
            bound = "from 0 to below 1" if field in ("b1", "b2") else "to 0 or more"
            raise UserError(f"optimizer.{name}.{field} is {fields[field]}; set it {bound}.")
    check_choices({f"optimizer.{name}.schedule": (fields.schedule, SCHEDULES)})
    return optimizer(**fields, num_steps=num_steps)
