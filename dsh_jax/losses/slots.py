"""Losses that a config names: by a name of `dsh_jax.losses`, or as "module:function".

Each place for a loss is a slot. What a slot hands to its loss is written once, in `SLOTS`, and a
loss is tried on arrays of those shapes before anything is trained.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from dsh_jax.errors import UserError, reason
from dsh_jax.fields import Rule, Text, shown
from dsh_jax.functions import load
from dsh_jax.losses.adversarial import Game

Loss = Callable[..., jax.Array]

SLOTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    # Of one sample; [num_bits] codes are relaxed, in [0, 1].
    "triplet": {
        "anchor": ("num_bits",), "positive": ("num_bits",), "negative": ("num_bits",),
    },
    "classification": {"logits": ("classes",), "label": ("classes",)},
    "code": {"logits": ("num_bits",), "target": ("num_bits",)},
    "quantization": {"code": ("num_bits",)},
    # Code logits, and a code of -1 and 1 for every class.
    "center": {
        "logits": ("num_bits",), "label": ("classes",), "centers": ("classes", "num_bits"),
    },
    "words": {"log_probabilities": ("words",), "word": ("width",), "count": ("width",)},
    "vectors": {"mean": ("width",), "vector": ("width",)},
    "tags": {
        "logits": ("classes",), "tags": ("classes",), "confidence": ("classes",),
        "recall": ("classes",),
    },
    "topics": {"code": ("num_bits",), "topics": ("num_bits",)},
    # Of a pair: code logits of two items (their sigmoids are relaxed codes), and 1.0 where they
    # share a label, else 0.0.
    "pair": {"a": ("num_bits",), "b": ("num_bits",), "similar": ()},
    # Of the whole batch, over all devices.
    "batch": {"code_logits": ("batch", "num_bits"), "labels": ("batch", "classes")},
}  # fmt: skip
"""Slot -> argument -> its shape by name. Every loss returns a scalar."""

OPTIONS = tuple(f"loss.{slot}_options" for slot in (*SLOTS, "adversarial"))
"""The groups of config fields that hold the options of a slot's loss, by name."""

_INTEGERS = {("words", "word")}  # arguments that are int32; the others are float32


def fields_of(*slots: str) -> dict[str, Rule]:
    """The config fields of some slots: `loss.<slot>` names the loss."""
    return {f"loss.{slot}": Text() for slot in slots}


def from_config(config: ConfigDict, slot: str, **sizes: int) -> Loss:
    """The loss that `loss.<slot>` names, with `loss.<slot>_options` bound, tried on its shapes.

    Args:
      config: a whole experiment's config.
      slot: a key of `SLOTS`.
      sizes: of the slot's shapes: num_bits, classes, ...

    Raises:
      UserError: see `find` and `try_on`.
    """
    loss = find(f"loss.{slot}", config.loss[slot], _options(config, slot))
    try_on(loss, slot, config.loss[slot], **sizes)
    return loss


def classification(
    config: ConfigDict, labels: str, *, none: bool = False, **sizes: int
) -> Loss:
    """The loss of `loss.classification`; "auto" is a softmax or sigmoids, as the labels are.

    Args:
      config, sizes: as for `from_config`.
      labels: "single" or "multi".
      none: whether "auto" knows items of no class, whose label is all zeros.

    Raises:
      UserError: as for `from_config`.
    """
    if config.loss.classification == "auto":
        config = config.copy_and_resolve_references()
        softmax = "softmax_or_none" if none else "softmax_classification"
        config.loss.classification = softmax if labels == "single" else "sigmoid_classification"
    return from_config(config, "classification", **sizes)


def game(config: ConfigDict) -> Game:
    """The adversarial game that `loss.adversarial` names: a function that returns a `Game`.

    Raises:
      UserError: no such function, or its losses cannot be used.
    """
    name = config.loss.adversarial
    make = find("loss.adversarial", name, _options(config, "adversarial"))
    try:
        made = make()
    except Exception as error:  # a user's function may raise anything
        raise UserError(
            f"loss.adversarial {name!r} fails: {reason(error)}; let it return "
            "Game(discriminate, deceive)."
        ) from error
    if not (isinstance(made, tuple) and len(made) == 2 and all(map(callable, made))):
        raise UserError(
            f"loss.adversarial {name!r} is not a game, as it returns {_described(made)}; let it "
            "return Game(discriminate, deceive)."
        )
    for loss, part, arguments in (
        (made[0], "discriminate", ("logit", "is_real")), (made[1], "deceive", ("logit",)),
    ):  # fmt: skip
        shapes = {argument: jax.ShapeDtypeStruct((), jnp.float32) for argument in arguments}
        _trace(loss, f"{part} of loss.adversarial {name!r}", shapes, dict.fromkeys(arguments, ()))
    return Game(*made)


def _options(config: ConfigDict, slot: str) -> Mapping[str, Any]:
    """The options of a slot's loss; none where the config does not have them."""
    options = config.loss.get(f"{slot}_options", {})
    if not isinstance(options, Mapping | ConfigDict):
        raise UserError(
            f"loss.{slot}_options is {shown(options)}; set it to the options by name, as in "
            "ConfigDict({'margin': 1.0})."
        )
    return options


def find(field: str, name: str, options: Mapping[str, Any]) -> Loss:
    """The function that a config names, with its options bound.

    Args:
      field: the config field, for errors.
      name: a function of `dsh_jax.losses`, or `"module:function"` for one of your own.
      options: keyword-only arguments of it, e.g. `{"margin": 1.0}`.

    Raises:
      UserError: no such module or function, or an option that the function does not take.
    """
    _, colon, function_name = name.rpartition(":")
    try:
        if not colon:
            from dsh_jax import losses  # here, because it imports this module

            if name not in losses.__all__:
                raise ValueError(f"dsh_jax.losses has {', '.join(losses.__all__)}")
            function = getattr(losses, name)
        else:
            function = load(name)
        # A class is callable too; jitted functions and partial ones are no functions to inspect.
        if not callable(function) or inspect.isclass(function):
            raise ValueError(f"{function_name!r} is not a function")
        parameters = inspect.signature(function).parameters.values()
    except Exception as error:  # a user's module may raise anything
        raise UserError(
            f"{field} is {name!r}, which cannot be loaded ({reason(error)}); name a function of "
            "dsh_jax.losses or 'module:function', with the module beside train.py or on PYTHONPATH."
        ) from error
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise UserError(
                f"{field} {name!r} has no option {option!r}; it takes {known}, after a * in its "
                "signature."
            )
    return partial(function, **dict(options))


def try_on(loss: Loss, slot: str, name: str, **sizes: int) -> None:
    """Traces a loss on the shapes that its slot will hand to it; nothing is computed.

    Args:
      loss: to try.
      slot: a key of `SLOTS`.
      name: of the loss, for errors.
      sizes: of the slot's shapes.

    Raises:
      UserError: the loss does not take these arguments, fails on them, or returns no float scalar.
    """
    arguments = {
        argument: jax.ShapeDtypeStruct(
            tuple(sizes[size] for size in shape),
            jnp.int32 if (slot, argument) in _INTEGERS else jnp.float32,
        )
        for argument, shape in SLOTS[slot].items()
    }
    _trace(loss, f"loss.{slot} {name!r}", arguments, SLOTS[slot], vmapped=slot != "batch")


def _trace(
    loss: Loss,
    name: str,
    arguments: Mapping[str, jax.ShapeDtypeStruct],
    shapes: Mapping[str, tuple[str, ...]],
    *,
    vmapped: bool = True,
) -> None:
    """Traces a loss and its gradient; `shapes` are the arguments' by name, for the error."""
    takes = ", ".join(f"{argument} [{', '.join(shape)}]" for argument, shape in shapes.items())
    try:
        inspect.signature(loss).bind(*arguments.values())
        result = jax.eval_shape(loss, *arguments.values())
    except Exception as error:  # a user's function may raise anything
        raise UserError(f"{name} fails on ({takes}): {reason(error)}; fix the function.") from error
    if not _is_float(result):
        raise UserError(
            f"{name} returns {_described(result)} on ({takes}); let it return one float."
        )
    # As in training: of several samples at once.
    floats = [n for n, x in enumerate(arguments.values()) if jnp.issubdtype(x.dtype, jnp.floating)]
    gradient = jax.grad(loss, argnums=floats)
    samples: Any = list(arguments.values())
    if vmapped:
        gradient = jax.vmap(gradient)
        samples = [jax.ShapeDtypeStruct((2, *x.shape), x.dtype) for x in samples]
    try:
        jax.eval_shape(gradient, *samples)
    except Exception as error:
        raise UserError(
            f"the gradient of {name} fails on ({takes}): {reason(error)}; fix the function."
        ) from error


def without_gradient(config: ConfigDict, **sizes: int) -> list[str]:
    """The losses of a config whose gradient is not finite at an obvious place.

    For a training that has failed: at such a place arguments are equal, all zero or all one. It
    is where a square root or a logarithm has no gradient.

    Args:
      config: of an experiment.
      sizes: of the slots' shapes; slots of other shapes are left out.

    Returns:
      Sentences' beginnings, such as "loss.pair 'my_losses:far', where its arguments are equal".
    """
    found = []
    losses = config.get("loss", {})
    for slot, shapes in SLOTS.items():
        name = losses.get(slot)
        integers = any((slot, argument) in _INTEGERS for argument in shapes)
        needed = {size for shape in shapes.values() for size in shape}
        if not name or name == "auto" or integers or not needed <= sizes.keys():
            continue
        loss = find(f"loss.{slot}", name, _options(config, slot))
        gradient = jax.grad(loss, argnums=tuple(range(len(shapes))))
        for value, place in ((0.3, "equal"), (0.0, "zero"), (1.0, "one")):
            arguments = [jnp.full([sizes[n] for n in shape], value) for shape in shapes.values()]
            try:
                finite = all(bool(jnp.isfinite(x).all()) for x in gradient(*arguments))
            except Exception:  # of these sizes it cannot be called
                break
            if not finite:
                found.append(f"loss.{slot} {name!r}, where all its arguments are {place}")
                break
    return found


def _is_float(result: Any) -> bool:
    """Whether a traced result is one float."""
    is_array = isinstance(result, jax.ShapeDtypeStruct)
    return is_array and result.shape == () and jnp.issubdtype(result.dtype, jnp.floating)


def _described(result: Any) -> str:
    """A traced result in short: its type, and the shape of an array."""
    if result is None:
        return "nothing"
    if not isinstance(result, jax.ShapeDtypeStruct):
        return f"a {type(result).__name__}"
    return f"{result.dtype} [{', '.join(map(str, result.shape))}]"
