"""Methods that learn codes, one module per method, listed in `METHODS`."""

from collections.abc import Mapping

from dsh_jax.methods import cnnh, dsh_gan, shttm, shttm_neural
from dsh_jax.methods.base import Recipe

METHODS: Mapping[str, Recipe] = {
    "cnnh": cnnh.RECIPE,
    "dsh_gan": dsh_gan.RECIPE,
    "shttm": shttm.RECIPE,
    "shttm_neural": shttm_neural.RECIPE,
}
"""The methods by name, as a config's `method` names them."""
