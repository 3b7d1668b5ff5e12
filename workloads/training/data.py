"""Samples to train on, random or from the user's files, and how batches of them reach the device.

A sample depends on the seed and its number alone, so that a resumed job sees what an undisturbed one would have.
"""

# ruff: noqa: PLC0415  (late imports: --help is instant, and a missing library is reported as an event)
from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from workloads.job import now_s
from workloads.options import SYNTHETIC
from workloads.torch_device import TorchDevice

if TYPE_CHECKING:
    from torch import Generator, Tensor

    Batch = tuple[Tensor, ...]

SYNTHETIC_SAMPLES = 2**16  # then they repeat, as an epoch does
TOKEN_BYTES = 2  # a file of tokens holds unsigned 16-bit numbers, which every vocabulary here fits


class Synthetic:
    """Random samples, each made when it is asked for."""

    def __init__(self, seed: int, make: Callable[[Generator], Batch]) -> None:
        self._seed = seed
        self._make = make

    def __len__(self) -> int:
        return SYNTHETIC_SAMPLES

    def __getitem__(self, number: int) -> Batch:
        return self._make(_generator(self._seed, number))


class Tokens:
    """Sequences cut from a file of tokens, one after another; `finish` makes inputs and labels of each."""

    def __init__(self, options: Namespace, finish: Callable[[Tensor, Generator], Batch]) -> None:
        import numpy as np

        self._seed = options.seed
        self._length = options.sequence_length
        self._finish = finish
        self._tokens: Any = np.memmap(options.data, dtype="<u2", mode="r")
        if not len(self):
            raise SystemExit(f"--data {options.data}: fewer than {self._length} tokens of {TOKEN_BYTES} bytes")

    def __len__(self) -> int:
        return int(len(self._tokens) // self._length)

    def __getitem__(self, number: int) -> Batch:
        import torch

        span = self._tokens[number * self._length :][: self._length]
        return self._finish(torch.from_numpy(span.astype("int64")), _generator(self._seed, number))


def images(options: Namespace, classes: int) -> Any:
    """Return images with their class: normally distributed ones, or those of an `ImageFolder` at `--data`."""
    import torch

    if options.data != SYNTHETIC:
        return _image_folder(options)
    shape = (3, options.image_size, options.image_size)

    def make(generator: Generator) -> Batch:
        return torch.randn(shape, generator=generator), torch.randint(classes, (), generator=generator)

    return Synthetic(options.seed, make)


def texts(options: Namespace, vocabulary: int, finish: Callable[[Tensor, Generator], Batch]) -> Any:
    """Return token sequences, uniformly random or from a file at `--data`, made into samples by `finish`."""
    import torch

    if options.data != SYNTHETIC:
        return Tokens(options, finish)

    def make(generator: Generator) -> Batch:
        tokens = torch.randint(vocabulary, (options.sequence_length,), generator=generator)
        return finish(tokens, generator)

    return Synthetic(options.seed, make)


class ResidentBatches:
    """The first batches of the data, on the device from the start: no step waits for them."""

    def __init__(self, batches: Iterator[Batch], parts: int, device: TorchDevice, options: Namespace) -> None:
        self._batches = [_moved(batch, device, options) for batch in islice(batches, parts)]

    def take(self) -> list[Batch]:
        """Return the parts of one step's batch, the same each time."""
        return self._batches


class LoadedBatches:
    """Batches from the loader's processes through the host's memory; the wait for them is told."""

    def __init__(
        self, batches: Iterator[Batch], parts: int, device: TorchDevice, options: Namespace,
        waited: Callable[[float], None],
    ) -> None:  # fmt: skip
        self._batches, self._parts, self._device, self._options = batches, parts, device, options
        self._waited = waited

    def take(self) -> list[Batch]:
        """Return the parts of the next step's batch; their copying may still be under way."""
        began_s = now_s()
        parts = list(islice(self._batches, self._parts))
        self._waited(now_s() - began_s)
        return [_moved(batch, self._device, self._options) for batch in parts]


Batches = ResidentBatches | LoadedBatches


def batches(
    dataset: Any, numbers: Sampler, options: Namespace, device: TorchDevice, waited: Callable[[float], None]
) -> Batches:
    """Return the source of batches that `options.loader` names; a step takes `accumulation` parts of a batch."""
    from torch.utils.data import DataLoader

    size = options.batch_size // options.accumulation
    on_host = options.loader == "host"
    loader = DataLoader(
        dataset, batch_size=size, sampler=numbers, num_workers=options.loader_workers if on_host else 0,
        pin_memory=on_host and device.is_cuda, generator=_generator(options.seed, 0),
    )  # fmt: skip
    parts = map(tuple, loader)
    if on_host:
        return LoadedBatches(parts, options.accumulation, device, options, waited)
    return ResidentBatches(parts, options.accumulation, device, options)


class Sampler:
    """Numbers of samples without end, in a new random order each epoch; every `ranks`-th from `rank` on."""

    def __init__(self, length: int, seed: int, start: int = 0, rank: int = 0, ranks: int = 1) -> None:
        self._length, self._seed, self._start = length, seed, start
        self._share = rank, ranks

    def __iter__(self) -> Iterator[int]:
        rank, ranks = self._share
        return islice(self._all(), rank, None, ranks)

    def _all(self) -> Iterator[int]:
        import torch

        epoch, done = divmod(self._start, self._length)
        while True:
            yield from torch.randperm(self._length, generator=_generator(self._seed, epoch)).tolist()[done:]
            epoch, done = epoch + 1, 0


def _moved(batch: Sequence[Tensor], device: TorchDevice, options: Namespace) -> Batch:
    """Copy a batch to the device, images in the memory format that was asked for."""
    import torch

    on_device = (tensor.to(device.torch_device, non_blocking=True) for tensor in batch)
    if not getattr(options, "channels_last", False):
        return tuple(on_device)
    return tuple(t.to(memory_format=torch.channels_last) if t.ndim == 4 else t for t in on_device)


def _image_folder(options: Namespace) -> Any:
    """Return the images of a folder, cropped, flipped and normalized as ImageNet's are."""
    import torch
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    steps = [
        v2.RandomResizedCrop(options.image_size),
        v2.RandomHorizontalFlip(),
        v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    ]
    return ImageFolder(options.data, v2.Compose(steps))


def _generator(seed: int, number: int) -> Generator:
    import torch

    return torch.Generator().manual_seed(seed * SYNTHETIC_SAMPLES + number)
