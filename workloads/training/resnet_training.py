"""Train a torchvision ResNet on random images; one item is one image.

The batch is made once and stays on the device, so no data loading is measured. Weights start random.
"""

# ruff: noqa: PLC0415  (late imports: --help is instant, and a missing library is reported as an event)
from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence

from workloads import models
from workloads.job import Job
from workloads.options import add_image_options, workload_parser
from workloads.torch_device import TorchDevice, installed_libraries
from workloads.training.step import TrainingStep


def option_parser() -> ArgumentParser:
    """Return the program's command line."""
    parser = workload_parser(__doc__, batch_size=64)
    parser.add_argument("--model", choices=models.RESNETS, default="resnet50", help="depth of the network")
    add_image_options(parser)
    return parser


def training_step(options: Namespace, device: TorchDevice) -> Callable[[], None]:
    """Build model, data and optimizer; return the step that uses them."""
    import torch
    from torch.nn.functional import cross_entropy

    model = models.resnet(options, device).train()
    images = models.images(options, device)
    labels = models.integers(models.IMAGE_CLASSES, (options.batch_size,), device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=device.is_cuda)
    return TrainingStep(device, optimizer, lambda: cross_entropy(model(images), labels))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = option_parser().parse_args(arguments)
    with Job.open(["torch", "torchvision"], options.seconds) as job, installed_libraries():
        device = TorchDevice(options)
        device.run(job, training_step(options, device), options, autotune=device.is_cuda)


if __name__ == "__main__":
    main()
