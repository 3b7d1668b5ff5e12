"""The training step that all models share, and its capture as a CUDA graph."""

# ruff: noqa: PLC0415  (late imports: --help is instant, and a missing library is reported as an event)
from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from workloads.torch_device import TorchDevice

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from workloads.training.data import Batch

UNCAPTURED_STEPS = 3  # libraries choose their kernels and the optimizer makes its state before a step is captured


class TrainingStep:
    """Forward, loss, backward and optimizer in mixed precision; call it once a step.

    `apart` is entered around every part of a batch but the last: between ranks, gradients are summed only then.
    """

    def __init__(
        self,
        device: TorchDevice,
        optimizer: Optimizer,
        loss: Callable[[Batch], Tensor],
        apart: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self._device = device
        self._optimizer = optimizer
        self._loss = loss
        self._apart = apart
        self.scaler = device.grad_scaler()

    def __call__(self, parts: Sequence[Batch]) -> Tensor:
        """Train on the parts of one batch and return their mean loss; the device may still be busy."""
        self._optimizer.zero_grad(set_to_none=True)
        losses = []
        for part in parts[:-1]:
            with self._apart():
                losses.append(self._backward(part, len(parts)))
        losses.append(self._backward(parts[-1], len(parts)))
        self.scaler.step(self._optimizer)
        self.scaler.update()
        return sum(losses[1:], losses[0])

    def _backward(self, part: Batch, parts: int) -> Tensor:
        with self._device.autocast():
            loss = self._loss(part) / parts if parts > 1 else self._loss(part)
        self.scaler.scale(loss).backward()
        return loss.detach()


class CapturedStep:
    """A training step recorded once as a CUDA graph; each call copies its batch in and replays it.

    The first call trains `UNCAPTURED_STEPS` times more on its batch, which recording needs; it belongs to warm-up.
    """

    def __init__(self, step: Callable[[Sequence[Batch]], Tensor]) -> None:
        self._step = step
        self._parts: Sequence[Batch] = ()
        self._graph: Any = None

    def __call__(self, parts: Sequence[Batch]) -> Tensor:
        """Train on the parts of one batch and return their mean loss, which the next call overwrites."""
        if self._graph is None:
            self._capture(parts)
        elif parts is not self._parts:
            self._copy_in(parts)
        self._graph.replay()
        return self._loss

    def _copy_in(self, parts: Sequence[Batch]) -> None:
        for captured, part in zip(self._parts, parts, strict=True):
            for mine, new in zip(captured, part, strict=True):
                mine.copy_(new)

    def _capture(self, parts: Sequence[Batch]) -> None:
        import torch

        self._parts, aside = parts, torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(UNCAPTURED_STEPS):
                self._step(parts)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._loss = self._step(parts)
