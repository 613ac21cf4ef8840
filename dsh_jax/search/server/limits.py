"""What a request may take, and how one is refused."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Of one request, except for `concurrency`.

    Attributes:
      upload_bytes: of its body.
      pixels: of its image.
      top: items that it may ask for.
      seconds: from its first byte to the answer.
      concurrency: requests that may be in hand at once; the others are told to come back.
    """

    upload_bytes: int = 2**24
    pixels: int = 25_000_000
    top: int = 1000
    seconds: float = 10.0
    concurrency: int = 32


class Refused(Exception):
    """A request that is not answered.

    Args:
      status: of HTTP.
      sentence: names the cause and the fix.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = " ".join(sentence.encode(errors="replace").decode().split())
