"""Methods that learn codes, one module per method, listed in `METHODS`."""

from collections.abc import Mapping

from dsh_jax.methods import cnnh, dsh_gan, nash, shttm, shttm_neural, vdsh
from dsh_jax.methods.base import Recipe

METHODS: Mapping[str, Recipe] = {
    "cnnh": cnnh.RECIPE,
    "dsh_gan": dsh_gan.RECIPE,
    "nash": nash.RECIPE,
    "shttm": shttm.RECIPE,
    "shttm_neural": shttm_neural.RECIPE,
    "vdsh": vdsh.RECIPE,
}
"""The methods by name, as a config's `method` names them."""
