"""One training job: a task, its data, and the step that repeats, with all that `add_training_options` names."""

# ruff: noqa: PLC0415  (late imports: --help is instant, and a missing library is reported as an event)
from __future__ import annotations

import os
import shutil
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workloads.job import Job
from workloads.torch_device import TorchDevice, installed_libraries
from workloads.training.checkpoint import Checkpoints, random_state, restore_random_state
from workloads.training.data import Sampler, batches
from workloads.training.step import CapturedStep, TrainingStep

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from workloads.training.data import Batch

COMPILERS = ("gcc", "clang", "cc")


@dataclass(frozen=True)
class Task:
    """What a program trains: a model on its device, samples by number, and the loss of the model on a batch."""

    model: nn.Module
    dataset: Any
    loss: Callable[[nn.Module, Batch], Tensor]
    optimizer: Optimizer


MakeTask = Callable[[Namespace, TorchDevice], Task]


class Trainer:
    """Trains a task one step a call, alone or as one of several ranks; resumes from a checkpoint."""

    def __init__(
        self, task: Task, options: Namespace, device: TorchDevice, waited: Callable[[float], None],
        rank: int = 0, ranks: int = 1,
    ) -> None:  # fmt: skip
        refuse_impossible(options, ranks)
        self.loss: Tensor | None = None  # of the last step, on the device
        self.steps = 0
        self._task, self._rank, self._ranks = task, rank, ranks
        self._checkpoints = Checkpoints(options)
        step = self._plain_step(options, device)
        self._step = CapturedStep(step) if options.cuda_graphs else step
        self._scaler = step.scaler
        saved = self._restore()
        seen = self.steps * options.batch_size if options.loader == "host" else 0  # a resident batch is the first
        numbers = Sampler(len(task.dataset), options.seed, seen, rank, ranks)
        self._batches = batches(task.dataset, numbers, _part_of(options, ranks), device, waited)
        if saved:
            restore_random_state(saved["random"][rank])

    def __call__(self) -> None:
        """Train on the next batch; the device may still be busy on return."""
        self.loss = self._step(self._batches.take())
        self.steps += 1
        if self._checkpoints.every and self.steps % self._checkpoints.every == 0:
            self._save()

    def _plain_step(self, options: Namespace, device: TorchDevice) -> TrainingStep:
        import torch

        model, apart = self._task.model, nullcontext
        if self._ranks > 1:
            ids = [device.torch_device] if device.is_cuda else None
            model = torch.nn.parallel.DistributedDataParallel(model, device_ids=ids)
            apart = model.no_sync
        if options.compile:
            model = torch.compile(model)
        return TrainingStep(device, self._task.optimizer, lambda batch: self._task.loss(model, batch), apart)

    def _restore(self) -> dict[str, Any] | None:
        saved = self._checkpoints.load()
        if saved:
            self.steps = saved["steps"]
            self._task.model.load_state_dict(saved["model"])
            self._task.optimizer.load_state_dict(saved["optimizer"])
            self._scaler.load_state_dict(saved["scaler"])
        return saved

    def _save(self) -> None:
        random = self._random_of_all_ranks()
        if self._rank == 0:
            state = {
                "model": self._task.model.state_dict(),
                "optimizer": self._task.optimizer.state_dict(),
                "scaler": self._scaler.state_dict(),
            }
            self._checkpoints.save({**state, "random": random, "steps": self.steps})

    def _random_of_all_ranks(self) -> list[dict[str, Any]]:
        import torch

        states: list[Any] = [random_state()] * self._ranks
        if self._ranks > 1:
            torch.distributed.all_gather_object(states, states[0])
        return states


def run(options: Namespace, libraries: Sequence[str], make_task: MakeTask, *, tunes: bool) -> None:
    """Run a whole training job; `tunes` tells whether cuDNN looks for its fastest kernels for this model."""
    with Job.open(libraries, options.seconds) as job, installed_libraries():
        refuse_impossible(options)
        device = TorchDevice(options)
        trainer = Trainer(make_task(options, device), options, device, job.waited)
        device.run(job, trainer, options, autotune=device.is_cuda and tunes)


def adamw(model: nn.Module, options: Namespace) -> Optimizer:
    """Return the optimizer that transformers are trained with, in the form that `options` ask for."""
    import torch

    return torch.optim.AdamW(
        model.parameters(), lr=5e-5, fused=options.fused_optimizer, capturable=options.cuda_graphs
    )


def refuse_impossible(options: Namespace, ranks: int = 1) -> None:
    """Exit, saying why, where options contradict each other or what they need is not there."""
    parts = options.accumulation * ranks
    if options.batch_size % parts:
        raise SystemExit(f"--batch-size {options.batch_size} is not a multiple of {parts}: ranks x --accumulation")
    if options.compile and not (os.environ.get("CC") or any(map(shutil.which, COMPILERS))):
        raise SystemExit("--compile needs a C compiler on PATH, such as gcc; install one, or leave --compile out")
    if options.cuda_graphs and (why_not := _why_not_captured(options, ranks)):
        raise SystemExit(f"--cuda-graphs: {why_not}")


def _why_not_captured(options: Namespace, ranks: int) -> str | None:
    """Say why a step of this job cannot be recorded as a CUDA graph; None if it can."""
    if options.device != "cuda":
        return "only a CUDA device records steps as graphs; leave it out on --device cpu"
    if options.precision == "fp16":
        return "the loss scaling of fp16 lets the host decide on each step; use --precision bf16 or fp32"
    return "a step of several ranks is not recorded; leave it out" if ranks > 1 else None


def _part_of(options: Namespace, ranks: int) -> Namespace:
    """Return the options of one rank: its part of the batch."""
    return Namespace(**{**vars(options), "batch_size": options.batch_size // ranks})
