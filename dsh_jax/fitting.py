"""Whether an encoder fits data: what each of them has, in the words of an error."""

from dsh_jax.data.signature import ImageInputs, Inputs, VectorInputs, WeightInputs
from dsh_jax.report.names import short


def inputs_misfit(
    inputs: Inputs, kind: str, shape: tuple[int, ...] | None, source: str
) -> str:
    """How the items of some data differ from those that an encoder takes.

    Args:
      inputs: of the encoder.
      kind: of the data's items; empty if it is not known yet.
      shape: of its images or vectors; None if it is not known yet, or of documents.
      source: what the data is called.

    Returns:
      What the encoder does, to follow its name; empty if nothing is known to differ.
    """
    if kind and kind != inputs.kind:
        return f"encodes {inputs.kind}, but {source} gives {kind}"
    if shape is not None and isinstance(inputs, ImageInputs) and inputs.shape != shape:
        own, other = ("x".join(map(str, sizes)) for sizes in (inputs.shape, shape))
        return f"encodes images of {own} (height, width, channels), but {source} gives {other}"
    if shape is not None and isinstance(inputs, VectorInputs) and inputs.shape != shape:
        return f"encodes vectors of {inputs.width} numbers, but {source} gives {shape[0]}"
    if shape is not None and isinstance(inputs, WeightInputs) and inputs.shape != shape:
        return f"encodes rows of {inputs.num_words} weights, but {source} gives {shape[0]}"
    return ""


def classes_misfit(known: tuple[str, ...], names: tuple[str, ...], source: str) -> str:
    """As `inputs_misfit`, of the classes that an encoder knows and those of some data."""
    if known == names:
        return ""
    order = " in another order" if sorted(known) == sorted(names) else ""
    return f"knows {_listed(known)}, but {source} has {_listed(names)}{order}"


def _listed(names: tuple[str, ...]) -> str:
    return f"{len(names)} classes ({short(', '.join(names), 60)})"
