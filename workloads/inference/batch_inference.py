"""Classify random batches, one after another (offline, closed loop); one item is one image or one sequence.

The batch is made once and stays on the device; each step ends with the predicted classes in host memory.
Weights are random, in the chosen precision. Image options do nothing for a text model, and the reverse.
"""

# ruff: noqa: PLC0415  (late imports: --help is instant, and a missing library is reported as an event)
from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence

from workloads import models
from workloads.job import Job
from workloads.options import add_image_options, add_text_options, workload_parser
from workloads.torch_device import TorchDevice, installed_libraries


def option_parser() -> ArgumentParser:
    """Return the program's command line."""
    parser = workload_parser(__doc__, batch_size=32)
    parser.add_argument(
        "--model", choices=(*models.RESNETS, *models.BERTS), default="resnet50", help="what to run"
    )
    add_image_options(parser)
    add_text_options(parser)
    return parser


def inference_step(options: Namespace, device: TorchDevice) -> Callable[[], None]:
    """Build model and batch; return the step that classifies the batch."""
    import torch

    is_text = options.model in models.BERTS
    model = models.bert(options, device) if is_text else models.resnet(options, device)
    model = model.to(device.dtype).eval()
    batch = models.token_ids(options, device) if is_text else models.images(options, device).to(device.dtype)

    def step() -> None:
        with torch.inference_mode():
            answer = model(batch)
            logits = answer.logits if is_text else answer
            logits.argmax(dim=-1).cpu()

    return step


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = option_parser().parse_args(arguments)
    libraries = ["torch", "transformers" if options.model in models.BERTS else "torchvision"]
    with Job.open(libraries, options.seconds) as job, installed_libraries():
        device = TorchDevice(options)
        tunes = device.is_cuda and options.model not in models.BERTS
        device.run(job, inference_step(options, device), options, autotune=tunes)


if __name__ == "__main__":
    main()
