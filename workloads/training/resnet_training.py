"""Train a torchvision ResNet on random images; one item is one image.

The batch stays on the device unless --loader is host; then a DataLoader's processes make every image. With
--data, images come from a folder with a subfolder for each class. Weights start random.
"""

# ruff: noqa: PLC0415  (late imports: --help is instant, and a missing library is reported as an event)
from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from workloads import models
from workloads.options import add_image_options, add_training_options, workload_parser
from workloads.torch_device import TorchDevice
from workloads.training import data
from workloads.training.trainer import Task, run


def option_parser() -> ArgumentParser:
    """Return the program's command line."""
    parser = workload_parser(__doc__, batch_size=64)
    parser.add_argument("--model", choices=models.RESNETS, default="resnet50", help="depth of the network")
    add_image_options(parser)
    add_training_options(parser)
    return parser


def make_task(options: Namespace, device: TorchDevice) -> Task:
    """Build model, data and optimizer."""
    import torch
    from torch.nn.functional import cross_entropy

    model = models.resnet(options, device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=options.fused_optimizer)
    dataset = data.images(options, models.IMAGE_CLASSES)
    return Task(model, dataset, lambda net, batch: cross_entropy(net(batch[0]), batch[1]), optimizer)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job."""
    run(option_parser().parse_args(arguments), ["torch", "torchvision"], make_task, tunes=True)


if __name__ == "__main__":
    main()
