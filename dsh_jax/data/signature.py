"""What networks must know of the data they were trained on, without the data itself.

A signature is small, and is kept with the parameters: in a workdir, and in an encoder file.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from PIL import Image

from dsh_jax.data.documents.rows import word_rows
from dsh_jax.data.documents.vocabulary import LETTERS, Vocabulary
from dsh_jax.data.documents.weights import WeightInputs
from dsh_jax.data.images.decoding import INTERPOLATIONS, LANCZOS, fit_image, through_jpeg
from dsh_jax.data.vectors.inputs import VectorInputs
from dsh_jax.errors import reason
from dsh_jax.fields import Pattern

LABELS = ("single", "multi")


@dataclass(frozen=True)
class ImageInputs:
    """How an image becomes what networks take.

    An image is cut to the square in its middle, resized and converted as the training images were;
    one that already has the right shape keeps its pixels.

    Attributes:
      height, width, channels: of the images that networks take; channels are 1 (grey) or 3 (RGB).
      jpeg_quality: of the JPEG that training images were kept as after resizing; 0 for pixels.
      interpolation: by which they are resized, a key of `decoding.INTERPOLATIONS`.
      mean, std: of each colour, of pixels in [0, 1], by which a network with published weights
        normalises them; empty for other networks. The network does so, not `pixels`.
    """

    kind: ClassVar[str] = "images"

    height: int
    width: int
    channels: int
    jpeg_quality: int = 0
    interpolation: str = LANCZOS
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        sizes = (self.height, self.width, self.channels)
        if not all(type(size) is int and 1 <= size <= 4096 for size in sizes):
            raise ValueError(f"image shape {sizes} should be three sizes from 1 to 4096")
        if self.channels not in (1, 3) or not 0 <= self.jpeg_quality <= 95:
            raise ValueError(f"channels {self.channels} or jpeg_quality {self.jpeg_quality}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation {self.interpolation!r}")
        for field in ("mean", "std"):  # lists, where they come from JSON
            object.__setattr__(self, field, tuple(float(x) for x in getattr(self, field)))
        if len(self.mean) not in (0, 3) or len(self.mean) != len(self.std):
            raise ValueError(f"mean {self.mean} and std {self.std} should be of three colours")
        if not all(map(math.isfinite, self.mean)) or not all(0 < x < math.inf for x in self.std):
            raise ValueError(f"mean {self.mean} or std {self.std}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)`."""
        return self.height, self.width, self.channels

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """`(mean, std)`; None where there are none."""
        return (self.mean, self.std) if self.mean else None

    def pixels(self, image: Image.Image) -> np.ndarray:
        """A decoded image as networks take it, uint8 `[height, width, channels]`."""
        mode = "L" if self.channels == 1 else "RGB"
        fitted = fit_image(
            image, (self.width, self.height), mode, interpolation=self.interpolation
        )
        if self.jpeg_quality:
            fitted = through_jpeg(fitted, self.jpeg_quality)
        return np.asarray(fitted).reshape(self.shape)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; what versions up to 0.3 do not know is left out where it does nothing."""
        new = {"interpolation": LANCZOS, "mean": (), "std": ()}
        content = {name: value for name, value in asdict(self).items()
                   if name not in new or value != new[name]}  # fmt: skip
        return {name: list(x) if isinstance(x, tuple) else x for name, x in content.items()}


@dataclass(frozen=True)
class WordInputs:
    """How a text becomes what networks take: the counts and tf-idf of a vocabulary's words."""

    kind: ClassVar[str] = "documents"

    vocabulary: Vocabulary

    def rows(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Texts as networks take them; see `rows.word_rows`."""
        counts = self.vocabulary.counts(texts)
        return word_rows(self.vocabulary.tfidf_of(counts), counts)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; floats are kept to the last bit."""
        vocabulary = self.vocabulary
        content = {"words": list(vocabulary.words), "idf": vocabulary.idf.tolist()}
        if vocabulary.token_pattern != LETTERS:  # files of version 0.2 know no other
            content["token_pattern"] = vocabulary.token_pattern
        if (vocabulary.analyser, vocabulary.ngrams) != ("words", (1, 1)):  # nor version 0.4
            content |= {"analyser": vocabulary.analyser, "ngrams": list(vocabulary.ngrams)}
        return content


Inputs: TypeAlias = ImageInputs | WordInputs | WeightInputs | VectorInputs
"""What an item is, and how it becomes what networks take."""


@dataclass(frozen=True)
class Signature:
    """What networks must know of their data.

    Attributes:
      inputs: what an item is.
      labels: "single" (a softmax) or "multi" (sigmoids).
      class_names: of the classes, or tags.
    """

    inputs: Inputs
    labels: str
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.labels not in LABELS:
            raise ValueError(f"labels is one of {LABELS}, not {self.labels!r}")
        if not all(isinstance(name, str) for name in self.class_names):
            raise ValueError("class_names must be strings")

    @property
    def num_classes(self) -> int:
        """Length of a class vector."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)`, of images."""
        assert isinstance(self.inputs, ImageInputs)
        return self.inputs.shape

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Of an image, `(height, width, channels)`, or of a vector, `(width,)`."""
        assert isinstance(self.inputs, ImageInputs | VectorInputs)
        return self.inputs.shape

    @property
    def num_words(self) -> int:
        """Length of the vocabulary, of documents and tf-idf rows."""
        if isinstance(self.inputs, WeightInputs):
            return self.inputs.num_words
        assert isinstance(self.inputs, WordInputs)
        return len(self.inputs.vocabulary.words)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "kind": self.inputs.kind,
            "inputs": self.inputs.to_dict(),
            "labels": self.labels,
            "class_names": list(self.class_names),
        }


def from_dict(content: dict[str, Any]) -> Signature:
    """The inverse of `Signature.to_dict`.

    Raises:
      ValueError: the content is no signature.
    """
    try:
        inputs: Inputs
        if content["kind"] == ImageInputs.kind:
            inputs = ImageInputs(**content["inputs"])
        elif content["kind"] == VectorInputs.kind:
            inputs = VectorInputs.from_dict(content["inputs"])
        elif content["kind"] == WeightInputs.kind:
            inputs = WeightInputs(**content["inputs"])
        elif content["kind"] == WordInputs.kind:
            fields = content["inputs"]
            words = tuple(str(word) for word in fields["words"])
            pattern = fields.get("token_pattern", LETTERS)
            if not Pattern().allows(pattern):
                raise ValueError(f"token_pattern should be {Pattern().allowed}")
            shortest, longest = fields.get("ngrams", (1, 1))
            analyser = fields.get("analyser", "words")
            idf = np.array(fields["idf"], np.float64)
            inputs = WordInputs(Vocabulary(words, idf, pattern, analyser, (shortest, longest)))
        else:
            raise ValueError(f"unknown kind {content['kind']!r}")
        return Signature(inputs, content["labels"], tuple(content["class_names"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no signature ({reason(error)})") from error
