"""Two improvements of SHTTM's codes in closed form, as a config switches them on.

Configs of earlier versions have neither, and do not have their fields.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax.fields import Number, Rules, Switch
from dsh_jax.methods import tag_correlation
from dsh_jax.methods.shttm_exposure import Exposure

OPTIONAL: Rules = {
    "codes.exposure": Switch(),
    "codes.correlated_tags": Switch(),
    "exposure.precision": Number(above=0),
    "exposure.alpha": Number(least=1),
    "exposure.beta": Number(least=1),
    "correlation.weight": Number(least=0, most=1),
    "correlation.smoothing": Number(above=0),
}
NEW_FIELDS = {"codes.exposure": False, "codes.correlated_tags": False}
"""What training did without them."""
_NEEDED = {
    "codes.exposure": tuple(name for name in OPTIONAL if name.startswith("exposure.")),
    "codes.correlated_tags": tuple(name for name in OPTIONAL if name.startswith("correlation.")),
}


def options(config: ConfigDict, tags: np.ndarray) -> dict[str, Any]:
    """The keywords of `learn_codes` for what is switched on.

    Args:
      config: of an experiment.
      tags: of its training documents, multi-hot `[n, tags]`.

    Raises:
      UserError: a field that is needed is missing.
    """
    settings = config.codes
    for switch, needed in _NEEDED.items():
        if settings.get(switch.removeprefix("codes."), False):
            fields.check(config, {name: OPTIONAL[name] for name in needed})
    found: dict[str, Any] = {}
    if settings.get("exposure", False):
        found["exposure"] = Exposure(**fields.floats(config.exposure))
    if settings.get("correlated_tags", False):
        shares = tag_correlation.shares(tags, smoothing=float(config.correlation.smoothing))
        weight = float(config.correlation.weight)
        soft = tag_correlation.soft_targets(jnp.asarray(tags), jnp.asarray(shares), weight=weight)
        found["soft"] = np.asarray(soft)
    return found
