"""Which loss made a training fail: the message for a value that is not finite."""

import math
from collections.abc import Mapping

from ml_collections import ConfigDict

from dsh_jax.data.signature import Signature
from dsh_jax.losses import slots

_FIX = "lower a learning rate or set clip_norm, and start again in another --workdir"
_FINITE = "make the function and its gradient finite for all arguments, or "
_TERMS = (*slots.SLOTS, "adversarial", "r1", "consistency")


def check_finite(
    config: ConfigDict, signature: Signature, step: int, row: Mapping[str, float]
) -> str:
    """Empty if all metrics of a step are finite, else a sentence that blames a loss.

    Args:
      config: of the experiment.
      signature: of its data.
      step: the number of steps done.
      row: metrics of the step, named "player/term".
    """
    bad = {name: float(value) for name, value in row.items() if not math.isfinite(value)}
    if not bad:
        return ""
    terms = [name for name in row if name.rpartition("/")[2] in _TERMS]
    failed = [name for name in terms if name in bad]
    # A step updates its players one after the other, and what one of them breaks, the next has in
    # all of its terms. So the first is one that has finite terms left.
    partly = {_player(name) for name in terms if name not in bad}
    first = [name for name in failed if _player(name) in partly]
    norms = [f"{player}/grad_norm" for player in sorted(partly) if f"{player}/grad_norm" in bad]
    if first or len(failed) == 1:
        first = first or failed
        said = f"{_named(config, first)} became {_value(bad[first[0]])} at step {step}"
        own = any(":" in _named(config, [name]) for name in first)
        return f"{said}; {_FINITE if own else ''}{_FIX}."
    if norms:
        return _of_a_gradient(config, signature, step, norms[0], bad[norms[0]])
    name = (failed or list(bad))[0]
    said = f"{_named(config, failed or [name])} became {_value(bad[name])} at step {step}"
    outputs = ", all at once, because the network's outputs did" if failed else ""
    return f"{said}{outputs}; {_FIX}."


def _of_a_gradient(
    config: ConfigDict, signature: Signature, step: int, norm: str, value: float
) -> str:
    """All terms are finite, but not their gradient."""
    said = f"the gradient of {_player(norm)}/loss became {_value(value)} at step {step}"
    sizes = {"num_bits": config.num_bits, "classes": signature.num_classes, "batch": 4}
    found = slots.without_gradient(config, **sizes)
    if found:
        return f"{said}, and it is not finite for {' and '.join(found)}; {_FINITE}{_FIX}."
    return f"{said}, though its terms are finite; {_FIX}."


def _named(config: ConfigDict, metrics: list[str]) -> str:
    """The config fields of terms, with the functions that they name; or the metrics' names."""
    names = []
    for metric in metrics:
        term = metric.rpartition("/")[2]
        name = config.get("loss", {}).get(term)
        is_named = isinstance(name, str) and name
        names.append(f"loss.{term} {name!r}" if is_named else metric)
    return " and ".join(dict.fromkeys(names))


def _player(name: str) -> str:
    return name.rpartition("/")[0]


def _value(value: float) -> str:
    return "NaN" if math.isnan(value) else "infinite"
