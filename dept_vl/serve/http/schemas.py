"""The JSON of requests. A field that no schema has is refused, but for those of OpenAI's that only choose a sample."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dept_vl.serve.http.limits import MOST_ROWS

Name = Annotated[str, Field(min_length=1, max_length=200)]
Count = Annotated[int, Field(ge=1, le=100_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Uploaded(_Strict):
    """A picture that a multipart request has in the part of this name."""

    upload: Name


class Below(_Strict):
    """A picture's file below the server's image root."""

    path: Annotated[str, Field(min_length=1, max_length=1000)]


Image = Uploaded | Below | Annotated[str, Field(description="a file's bytes in base64, or a data: URL of them")]


class _Row(_Strict):
    adapter_id: Name | None = None


class AnswerRow(_Row):
    question: str
    image: Image | None = None


class CaptionRow(_Row):
    image: Image


class TextRow(_Row):
    text: Annotated[str | dict[str, Any], Field(description="the row's one field, or its fields by name")]


class _Rows(_Strict):
    num_beams: Count | None = None
    max_new_tokens: Count | None = None


class AnswerRequest(_Rows):
    rows: Annotated[list[AnswerRow], Field(fail_fast=True, min_length=1, max_length=MOST_ROWS)]


class CaptionRequest(_Rows):
    rows: Annotated[list[CaptionRow], Field(fail_fast=True, min_length=1, max_length=MOST_ROWS)]


class TextRequest(_Rows):
    rows: Annotated[list[TextRow], Field(fail_fast=True, min_length=1, max_length=MOST_ROWS)]


class ClassifyRequest(_Strict):
    rows: Annotated[list[TextRow], Field(fail_fast=True, min_length=1, max_length=MOST_ROWS)]


class Answers(_Strict):
    answers: list[str]


class LoadRequest(_Strict):
    """A folder below the server's adapter root, or a repository of the hub."""

    name: Name
    folder: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    repo: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    revision: Name | None = None


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class ImageUrl(BaseModel):
    url: str


class ImagePart(BaseModel):
    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(BaseModel):
    role: str
    content: str | Annotated[list[Part], Field(fail_fast=True, max_length=64)]


class ChatRequest(BaseModel):
    """OpenAI's. Fields that choose a sample (temperature, top_p, seed, ...) are read over: decoding is greedy, or by
    beams as the adapter records them."""

    model: Name
    messages: Annotated[list[Message], Field(fail_fast=True, min_length=1, max_length=64)]
    stream: bool = False
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    logprobs: bool | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    response_format: dict[str, Any] | None = None
