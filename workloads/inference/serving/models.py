"""The models behind /predict: each is made once, on the device's thread, and takes a list of queries at a time."""

# ruff: noqa: PLC0415  (late imports: --help is instant, and a missing library is reported as an event)
from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from workloads import models
from workloads.inference.generation import Generation, decoder
from workloads.inference.serving.queries import SAMPLES
from workloads.torch_device import TorchDevice

if TYPE_CHECKING:
    from torch import Tensor

Query = Any  # of the type that `queries.kind_of` made for the model
Answer = dict[str, Any]


class Served(Protocol):
    """A model that answers batches of queries."""

    def __call__(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer the queries in their order; the device is idle afterwards."""
        ...

    def items(self, answers: Sequence[Answer]) -> int:
        """Return the work in these answers, in the model's unit."""
        ...


def served(options: Namespace, device: TorchDevice) -> Served:
    """Build the model that the options name."""
    if options.model in models.BERTS:
        return Text(options, device)
    return Generator(options, device) if options.model in models.GPT2S else Images(options, device)


class Images:
    """A ResNet that classifies images of the library, which lies on the device."""

    def __init__(self, options: Namespace, device: TorchDevice) -> None:
        import torch

        self._device = device
        self._format = torch.channels_last if options.channels_last else torch.contiguous_format
        self._model = models.resnet(options, device).to(device.dtype).eval()
        self._library = models.images(_library(options), device).to(device.dtype)

    def __call__(self, queries: Sequence[Query]) -> list[Answer]:
        """Return the most likely class of each image."""
        import torch

        chosen = torch.tensor([query.sample for query in queries], device=self._device.torch_device)
        with torch.inference_mode():
            batch = self._library[chosen].contiguous(memory_format=self._format)
            return _labels(self._model(batch))

    def items(self, answers: Sequence[Answer]) -> int:
        """Count images."""
        return len(answers)


class Text:
    """A BERT that classifies token sequences, all padded to the full length: one shape for each batch size."""

    def __init__(self, options: Namespace, device: TorchDevice) -> None:
        self._device = device
        self._length: int = options.sequence_length
        self._model = models.bert(options, device).to(device.dtype).eval()
        self._library = models.token_ids(_library(options), device).tolist()

    def __call__(self, queries: Sequence[Query]) -> list[Answer]:
        """Return the label of each sequence."""
        import torch

        rows = [query.tokens or self._library[query.sample] for query in queries]
        with torch.inference_mode():
            ids, mask = _padded(rows, self._length, self._device, left=False)
            return _labels(self._model(ids, attention_mask=mask).logits)

    def items(self, answers: Sequence[Answer]) -> int:
        """Count sequences."""
        return len(answers)


class Generator:
    """A GPT-2 that continues prompts, all padded to the full length; a batch is decoded as far as its longest."""

    def __init__(self, options: Namespace, device: TorchDevice) -> None:
        self._device = device
        self._length: int = options.prompt_length
        self._model = decoder(options, device)
        shape = (SAMPLES, self._length)
        self._library = models.integers(models.GPT2_VOCABULARY, shape, device).tolist()

    def __call__(self, queries: Sequence[Query]) -> list[Answer]:
        """Return the tokens that continue each prompt, as many as it asked for."""
        rows = [query.tokens or self._library[query.sample] for query in queries]
        generation = Generation(self._model, *_padded(rows, self._length, self._device, left=True))
        generation.prefill()
        generation.decode(max(query.max_tokens for query in queries) - 1)
        found = generation.tokens.tolist()
        return [{"tokens": row[: query.max_tokens]} for row, query in zip(found, queries, strict=True)]

    def items(self, answers: Sequence[Answer]) -> int:
        """Count the tokens that were asked for."""
        return sum(len(answer["tokens"]) for answer in answers)


def _library(options: Namespace) -> Namespace:
    return Namespace(**{**vars(options), "batch_size": SAMPLES})


def _labels(logits: Tensor) -> list[Answer]:
    return [{"label": label} for label in logits.argmax(dim=-1).tolist()]


def _padded(
    rows: Sequence[Sequence[int]], length: int, device: TorchDevice, *, left: bool
) -> tuple[Tensor, Tensor]:
    """Return token ids and their mask on the device, in one copy each."""
    import torch

    gaps = [[0] * (length - len(row)) for row in rows]
    ones = [[1] * len(row) for row in rows]
    ids, mask = (
        [[*gap, *row] if left else [*row, *gap] for row, gap in zip(each, gaps, strict=True)]
        for each in (rows, ones)
    )
    return torch.tensor(ids, device=device.torch_device), torch.tensor(mask, device=device.torch_device)
