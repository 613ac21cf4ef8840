"""What requests and answers hold, for the API's description."""

from typing import Annotated, Any, Self

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, model_validator

from dsh_jax.search.items import MOST_ID_BYTES, MOST_LABEL_BYTES


class Failure(BaseModel):
    """Why a request is refused."""

    error: str = Field(description="one sentence")


class Found(BaseModel):
    """An item, and its Hamming distance to the query in bits."""

    distance: int
    id: str
    path: str
    text: str
    labels: list[str]
    metadata: dict[str, Any]
    code: str = Field(description="hexadecimal digits")


class Answer(BaseModel):
    """The nearest items, by distance, then by id."""

    index: str
    num_bits: int
    code: str = Field(description="of the query, in hexadecimal digits")
    note: str = Field(description="why there are fewer items than might be expected, or empty")
    hits: list[Found]


class Served(BaseModel):
    """An index that is served."""

    name: str
    items: int
    num_bits: int
    kind: str = Field(description='what can be asked with: "images", "documents" or neither: ""')
    fingerprint: str = Field(description="of the model")
    labels: dict[str, int] = Field(description="items of each label")


class Text(BaseModel):
    """A document."""

    model_config = ConfigDict(extra="forbid")
    text: str


class Id(BaseModel):
    """An item of the index."""

    model_config = ConfigDict(extra="forbid")
    id: str = Field(max_length=MOST_ID_BYTES)


class Code(BaseModel):
    """A packed code."""

    model_config = ConfigDict(extra="forbid")
    code: str = Field(description="hexadecimal digits, with zeros for padding", max_length=2**14)


Term = tuple[str, str | bytes, float]
"""A query: which way it asks, with what, and its weight."""


class Weighted(BaseModel):
    """A query among others: an image, a document, an item of the index or a code."""

    model_config = ConfigDict(extra="forbid")
    image: Base64Bytes | None = Field(None, description="an image file, in Base64")
    text: str | None = None
    id: str | None = Field(None, max_length=MOST_ID_BYTES)
    code: str | None = Field(None, max_length=2**14)
    weight: float = Field(1.0, gt=-1e6, lt=1e6)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self._ways()) != 1:
            raise ValueError("name one of image, text, id and code")
        return self

    def term(self) -> Term:
        """The same as a tuple."""
        [(way, value)] = self._ways().items()
        return way, value, self.weight

    def _ways(self) -> dict[str, str | bytes]:
        ways = {"image": self.image, "text": self.text, "id": self.id, "code": self.code}
        return {way: value for way, value in ways.items() if value is not None}


class Several(BaseModel):
    """Queries that are asked as one."""

    model_config = ConfigDict(extra="forbid")
    queries: list[Weighted] = Field(min_length=1, max_length=16)


Label = Annotated[str, Field(max_length=MOST_LABEL_BYTES)]
