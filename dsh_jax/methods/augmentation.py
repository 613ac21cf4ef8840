"""The fields of `augment` that photographs need, and configs of earlier versions do not have."""

from collections.abc import Mapping

from dsh_jax.fields import Number, Rules

FIELDS: Rules = {
    "augment.least_area": Number(above=0),
    "augment.colour": Number(least=0, below=1),
}
NEUTRAL: Mapping[str, float] = {"least_area": 1.0, "colour": 0.0}
"""Their values where they do nothing."""
PHOTOGRAPHS = tuple(NEUTRAL)
