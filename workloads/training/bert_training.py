"""Train a BERT sequence classifier on random tokens; one item is one sequence.

The batch is made once and stays on the device, so no data loading is measured. Weights start random.
"""

# ruff: noqa: PLC0415  (late imports: --help is instant, and a missing library is reported as an event)
from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence

from workloads import models
from workloads.job import Job
from workloads.options import add_text_options, workload_parser
from workloads.torch_device import TorchDevice, installed_libraries
from workloads.training.step import TrainingStep


def option_parser() -> ArgumentParser:
    """Return the program's command line."""
    parser = workload_parser(__doc__, batch_size=32)
    add_text_options(parser)
    return parser


def training_step(options: Namespace, device: TorchDevice) -> Callable[[], None]:
    """Build model, data and optimizer; return the step that uses them."""
    import torch

    model = models.bert(options, device).train()
    tokens = models.token_ids(options, device)
    labels = models.integers(models.TEXT_LABELS, (options.batch_size,), device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, fused=device.is_cuda)
    return TrainingStep(device, optimizer, lambda: model(input_ids=tokens, labels=labels).loss)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = option_parser().parse_args(arguments)
    with Job.open(["torch", "transformers"], options.seconds) as job, installed_libraries():
        device = TorchDevice(options)
        device.run(job, training_step(options, device), options, autotune=False)


if __name__ == "__main__":
    main()
