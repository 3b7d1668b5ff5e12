"""How fast ddp-resnet50-training is beside a plain loop: `python benchmarks/ddp_reference.py --help`.

A is the workload's own step, B that of the tutorial of DistributedDataParallel, in the order A, B, B, A. Printed
is the ratio of speeds with its 95 % interval over rounds; below 0.95 the exit code is 1. Parameters are the
catalog's. Each rank is one process, as in the workload, and holds both; rank 0 tells the others which to do. That
word is in both times: it takes some microseconds, and without it the ranks could not alternate. With --cpu-time,
the time is that of rank 0. A GPU for each rank is needed, or --device cpu.
"""

import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from side_by_side import Step, arguments, compare, option_parser
from solo_reference import finished, plain_vision
from torch.nn.parallel import DistributedDataParallel

from bench.plan.catalog import load_catalog
from workloads.torch_device import TorchDevice
from workloads.training import ddp_training
from workloads.training.resnet_training import make_task
from workloads.training.trainer import Trainer

NAME = "ddp-resnet50-training"
FOLLOW = "follow"  # the first argument of other ranks
OWN, PLAIN = b"A", b"B"


def main() -> int:
    """Compare, as rank 0, and return 0 where the target is reached; or follow, as another rank."""
    if sys.argv[1:2] == [FOLLOW]:
        return follow(sys.argv[2:])
    options = option_parser(__doc__).parse_args()
    with told_steps(arguments(load_catalog()[NAME], options.device)) as (own, plain):
        return 0 if compare(NAME, own, plain, options) else 1


@contextmanager
def told_steps(given: Sequence[str]) -> Iterator[tuple[Step, Step]]:
    """Start the other ranks, and yield rank 0's steps, which have them do the same."""
    options = ddp_training.option_parser().parse_args(given)
    device = TorchDevice(options)
    ddp_training.refuse_too_few_gpus(options, device)
    with (
        ddp_training.Followers(options.ranks, given, (__file__, FOLLOW)) as followers,
        ddp_training.joined(options, device, followers.meeting_point),
    ):
        steps = _steps(options, device)

        def step(word: bytes) -> None:
            followers.go_on(word)
            steps[word]()

        yield finished(partial(step, OWN), device), finished(partial(step, PLAIN), device)


def follow(given: Sequence[str]) -> int:
    """Do the steps that rank 0 names, until it closes the line."""
    options = ddp_training.option_parser().parse_args(given)
    device = TorchDevice(options, index=options.rank)
    with ddp_training.joined(options, device, options.meeting_point):
        steps = _steps(options, device)
        while word := os.read(sys.stdin.fileno(), 1):
            steps[word]()
        device.synchronize()
    return 0


def _steps(options: Namespace, device: TorchDevice) -> dict[bytes, Step]:
    """Return one rank's part of both steps, made in the same order by all: making them, ranks meet."""
    own = Trainer(make_task(options, device), options, device, lambda _wait_s: None, options.rank, options.ranks)
    part = Namespace(**{**vars(options), "batch_size": options.batch_size // options.ranks})
    ids = [device.torch_device] if device.is_cuda else None
    return {OWN: own, PLAIN: plain_vision(part, device, partial(DistributedDataParallel, device_ids=ids))}


if __name__ == "__main__":
    sys.exit(main())
