"""The fields of `augment` that photographs need, and configs of earlier versions do not have."""

from typing import Any

from ml_collections import ConfigDict

from dsh_jax.fields import Number, Rules

FIELDS: Rules = {
    "augment.least_area": Number(above=0),
    "augment.colour": Number(least=0, below=1),
}
PHOTOGRAPHS = ("least_area", "colour")


def of_photographs(settings: ConfigDict) -> dict[str, Any]:
    """The options of `augment.augment` that these fields set."""
    return {
        "least_area": float(settings.get("least_area", 1.0)),
        "colour": float(settings.get("colour", 0.0)),
    }
