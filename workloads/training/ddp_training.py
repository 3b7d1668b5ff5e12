"""Train a torchvision ResNet on several whole GPUs (DistributedDataParallel); one item is one image.

One process a GPU, as torchrun starts them, here from rank 0, the only one that speaks the job protocol. They talk
through NCCL, on the CPU through gloo. --batch-size is that of all ranks together. Ranks cannot share a GPU: NCCL
refuses that.
"""

# ruff: noqa: PLC0415  (late imports: --help is instant, and a missing library is reported as an event)
from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO

from workloads.job import Job
from workloads.options import positive
from workloads.torch_device import TorchDevice, installed_libraries
from workloads.training.resnet_training import make_task
from workloads.training.resnet_training import option_parser as resnet_parser
from workloads.training.trainer import Trainer, refuse_impossible

PATIENCE = timedelta(seconds=120)  # of a rank that waits for another
ENDING_S = 10.0
GO_ON = b"."
PROGRAM = ("-m", "workloads.training.ddp_training")


def option_parser() -> argparse.ArgumentParser:
    """Return the program's command line."""
    parser = resnet_parser()
    parser.description = __doc__
    parser.add_argument("--ranks", type=positive, default=2, help="processes, each with a GPU of its own")
    parser.add_argument("--rank", type=int, default=0, help=argparse.SUPPRESS)  # given to those that rank 0 starts
    parser.add_argument("--meeting-point", help=argparse.SUPPRESS)
    return parser


def lead(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Run the job as rank 0: start the other ranks, and have them do each step that this one does."""
    with Job.open(["torch", "torchvision"], options.seconds) as job, installed_libraries():
        refuse_impossible(options, options.ranks)
        device = TorchDevice(options)
        refuse_too_few_gpus(options, device)
        with Followers(options.ranks, arguments) as followers, joined(options, device, followers.meeting_point):
            trainer = Trainer(make_task(options, device), options, device, job.waited, ranks=options.ranks)

            def step() -> None:
                followers.go_on()
                trainer()

            device.run(job, step, options, autotune=device.is_cuda)


def follow(options: argparse.Namespace) -> None:
    """Run as another rank: a step for each word from rank 0, until it closes the line."""
    device = TorchDevice(options, index=options.rank)
    with joined(options, device, options.meeting_point):
        trainer = Trainer(
            make_task(options, device), options, device, lambda _wait_s: None, options.rank, options.ranks
        )
        while os.read(sys.stdin.fileno(), len(GO_ON)):
            trainer()
        device.synchronize()


@contextmanager
def joined(options: argparse.Namespace, device: TorchDevice, meeting_point: str) -> Iterator[None]:
    """Meet the other ranks, and part from them; they share the cores of the host evenly."""
    import torch

    if not device.is_cuda:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a container without network has no other
        torch.set_num_threads(max(1, torch.get_num_threads() // options.ranks))
    torch.distributed.init_process_group(
        "nccl" if device.is_cuda else "gloo", init_method=f"file://{meeting_point}", timeout=PATIENCE,
        rank=options.rank, world_size=options.ranks,
    )  # fmt: skip
    yield
    torch.distributed.destroy_process_group()


class Followers:
    """The other ranks, as processes that do one step for each word that is written to them."""

    def __init__(self, ranks: int, arguments: Sequence[str], program: Sequence[str] = PROGRAM) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.meeting_point = str(Path(self._folder.name) / "meeting-point")
        command = [sys.executable, *program, *arguments, "--meeting-point", self.meeting_point]
        self._processes = {
            rank: subprocess.Popen([*command, "--rank", str(rank)], stdin=subprocess.PIPE, bufsize=0)
            for rank in range(1, ranks)
        }

    def go_on(self, word: bytes = GO_ON) -> None:
        """Have every rank do one more step; exits where one has ended."""
        self._refuse_ended()
        for process in self._processes.values():
            _line(process).write(word)

    def __enter__(self) -> Followers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Let the other ranks end, or kill them where this one failed; exits where another failed first."""
        try:
            if kind is not None:
                self._refuse_ended()
        finally:
            self._end(kill=kind is not None)

    def _refuse_ended(self) -> None:
        for rank, process in self._processes.items():
            if process.poll() is not None:
                raise SystemExit(f"rank {rank} ended with status {process.returncode}; what it said is in the log")

    def _end(self, *, kill: bool) -> None:
        for process in self._processes.values():
            _line(process).close()
            if kill:
                process.kill()
        for process in self._processes.values():
            _wait(process)
        self._folder.cleanup()


def _line(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdin is None:
        raise RuntimeError("a rank was started without a line to it")
    return process.stdin


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def refuse_too_few_gpus(options: argparse.Namespace, device: TorchDevice) -> None:
    """Exit where there are fewer GPUs than ranks."""
    import torch

    if device.is_cuda and torch.cuda.device_count() < options.ranks:
        raise SystemExit(
            f"--ranks {options.ranks} needs as many whole GPUs, torch sees {torch.cuda.device_count()}: "
            "NCCL does not run two ranks on one GPU"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job, or one of its ranks."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = option_parser().parse_args(arguments)
    if options.rank:
        follow(options)
    else:
        lead(options, arguments)


if __name__ == "__main__":
    main()
