"""What requests and answers hold, for the API's description."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

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


Label = Annotated[str, Field(max_length=MOST_LABEL_BYTES)]
