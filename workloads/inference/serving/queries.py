"""What may be asked of a model and what it answers, as types whose limits the options set.

Queries are small on purpose: a service is to be measured, not the parsing of megabytes. An image is named by
its number in a library of random images on the device (what MLPerf calls the query sample library); text is a
list of token ids, or a number likewise.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from workloads.models import BERTS, GPT2_VOCABULARY, GPT2S, IMAGE_CLASSES, TEXT_LABELS, VOCABULARY

SAMPLES = 64  # in the library
Sample = Annotated[int, Field(ge=0, lt=SAMPLES, description="number of a random input in the library")]


@dataclass(frozen=True)
class Kind:
    """One kind of prediction: the type of a query, the type of its answer, and what one item of work is."""

    query: type[BaseModel]
    answer: type[BaseModel]
    unit: str


def kind_of(options: Namespace) -> Kind:
    """Return what the model that the options name can be asked."""
    if options.model in BERTS:
        query = _query("TextQuery", tokens=_tokens(VOCABULARY, options.sequence_length))
        return Kind(query, _label("TextAnswer", TEXT_LABELS), "sequences")
    if options.model in GPT2S:
        return _generation(options.prompt_length, options.output_length)
    return Kind(_query("ImageQuery"), _label("ImageAnswer", IMAGE_CLASSES), "images")


def _generation(prompt_length: int, output_length: int) -> Kind:
    count = Annotated[int, Field(ge=1, le=output_length, description="how many tokens to generate")]
    query = _query(
        "GenerationQuery", tokens=_tokens(GPT2_VOCABULARY, prompt_length), max_tokens=(count, output_length)
    )
    answer = create_model("GenerationAnswer", tokens=(list[int], ...))
    return Kind(query, answer, "tokens")


def _query(name: str, **fields: Any) -> type[BaseModel]:
    config = ConfigDict(extra="forbid", strict=True)
    return create_model(name, __config__=config, sample=(Sample, 0), **fields)


def _label(name: str, count: int) -> type[BaseModel]:
    return create_model(name, label=(Annotated[int, Field(ge=0, lt=count)], ...))


def _tokens(vocabulary: int, length: int) -> tuple[Any, None]:
    """Return the field for token ids; None stands for the sample of that number, which is of full length."""
    token = Annotated[int, Field(ge=0, lt=vocabulary)]
    limits = Field(min_length=1, max_length=length, description="token ids, in place of a sample")
    return (Annotated[list[token], limits] | None, None)
