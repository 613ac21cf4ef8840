"""Ways to learn codes: one file for each, listed in `METHODS`."""

from collections.abc import Mapping

from dsh_jax.methods import cnnh, dsh_gan, shttm, shttm_neural
from dsh_jax.methods.base import Recipe

METHODS: Mapping[str, Recipe] = {
    "cnnh": cnnh.RECIPE,
    "dsh_gan": dsh_gan.RECIPE,
    "shttm": shttm.RECIPE,
    "shttm_neural": shttm_neural.RECIPE,
}
"""What a config's `method` may name."""
