"""Train GPT-2 (124 M weights) to continue random tokens; one item is one sequence.

The batch stays on the device unless --loader is host; then a DataLoader's processes make every sequence. With
--data, tokens come from a file of unsigned 16-bit numbers. Weights start random.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workloads import models
from workloads.options import add_text_options, add_training_options, workload_parser
from workloads.torch_device import TorchDevice
from workloads.training import data
from workloads.training.trainer import Task, adamw, run

if TYPE_CHECKING:
    from torch import Generator, Tensor


def option_parser() -> ArgumentParser:
    """Return the program's command line."""
    parser = workload_parser(__doc__, batch_size=8)
    add_text_options(parser, sequence_length=1024)
    add_training_options(parser)
    return parser


def make_task(options: Namespace, device: TorchDevice) -> Task:
    """Build model, data and optimizer."""
    model = models.gpt2(options, device).train()
    dataset = data.texts(options, models.GPT2_VOCABULARY, as_they_are)
    return Task(
        model, dataset, lambda net, batch: net(input_ids=batch[0], labels=batch[0]).loss, adamw(model, options)
    )


def as_they_are(tokens: Tensor, _generator: Generator) -> tuple[Tensor, ...]:
    """Return a sequence alone: the model itself compares each guess with the next token."""
    return (tokens,)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job."""
    run(option_parser().parse_args(arguments), ["torch", "transformers"], make_task, tunes=False)


if __name__ == "__main__":
    main()
