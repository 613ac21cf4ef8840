"""What an index says of itself: the model that its codes come from, and how they are searched."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dsh_jax.errors import UserError

FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """What does not change while items come and go.

    Attributes:
      num_bits: length of a code.
      fingerprint: of the encoder; empty if the codes came without one.
      model: path of the encoder file or workdir; empty if the codes came without one.
      kind: of the engine's index: "flat" is exact.
      options: of that kind, name -> number.
    """

    num_bits: int
    fingerprint: str = ""
    model: str = ""
    kind: str = "flat"
    options: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if type(self.num_bits) is not int or not 1 <= self.num_bits <= 2**16:
            raise ValueError(f"num_bits {self.num_bits!r}")
        if not all(isinstance(text, str) for text in (self.fingerprint, self.model, self.kind)):
            raise ValueError("fingerprint, model and kind must be strings")
        if not all(type(number) is int and number > 0 for number in self.options.values()):
            raise ValueError(f"options {dict(self.options)!r}")

    @property
    def num_bytes(self) -> int:
        """Length of a packed code."""
        return -(-self.num_bits // 8)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "format": FORMAT, "num_bits": self.num_bits, "fingerprint": self.fingerprint,
            "model": self.model, "kind": self.kind, "options": dict(self.options),
        }  # fmt: skip


def from_dict(content: Any, uri: str) -> Manifest:
    """The inverse of `Manifest.to_dict`; further fields are the engine's.

    Raises:
      UserError: it is of a newer version, or no manifest.
    """
    found = content.get("format") if isinstance(content, dict) else None
    if type(found) is int and found > FORMAT:
        raise UserError(
            f"the index {uri} has format {found}, and this version of dsh_jax reads {FORMAT}: "
            "install the version that wrote it."
        )
    try:
        if found != FORMAT:
            raise ValueError(f"format {found!r}")
        return Manifest(
            content["num_bits"], content["fingerprint"], content["model"], content["kind"],
            dict(content["options"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"the manifest of {uri} is damaged ({error}): restore it, or index again."
        ) from error
