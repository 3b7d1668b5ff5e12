"""The training step that all models share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from workloads.torch_device import TorchDevice

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


class TrainingStep:
    """Forward, loss, backward and optimizer in mixed precision; call it once a step."""

    def __init__(self, device: TorchDevice, optimizer: Optimizer, loss: Callable[[], Tensor]) -> None:
        self._device = device
        self._optimizer = optimizer
        self._loss = loss
        self._scaler = device.grad_scaler()

    def __call__(self) -> None:
        """Train on the batch once; the device may still be busy on return."""
        self._optimizer.zero_grad(set_to_none=True)
        with self._device.autocast():
            loss = self._loss()
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
