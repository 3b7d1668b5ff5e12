"""Train a BERT on random tokens, to classify sequences or to guess masked tokens; one item is one sequence.

The batch stays on the device unless --loader is host; then a DataLoader's processes make every sequence. With
--data, tokens come from a file of unsigned 16-bit numbers (labels of classes stay random). Weights start random.
"""

# ruff: noqa: PLC0415  (late imports: --help is instant, and a missing library is reported as an event)
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

TASKS = ("classification", "masked-lm")
MASK_TOKEN = 103  # as bert-base-uncased
MASKED = 0.15  # of all tokens, as in BERT's own pre-training
IGNORED = -100  # a label that the loss leaves out


def option_parser() -> ArgumentParser:
    """Return the program's command line."""
    parser = workload_parser(__doc__, batch_size=32)
    parser.add_argument("--task", choices=TASKS, default=TASKS[0], help="what is learned")
    add_text_options(parser)
    add_training_options(parser)
    return parser


def make_task(options: Namespace, device: TorchDevice) -> Task:
    """Build model, data and optimizer."""
    model = models.bert(options, device, options.task).train()
    dataset = data.texts(options, models.VOCABULARY, masked if options.task == "masked-lm" else labelled)
    return Task(
        model, dataset, lambda net, batch: net(input_ids=batch[0], labels=batch[1]).loss, adamw(model, options)
    )


def labelled(tokens: Tensor, generator: Generator) -> tuple[Tensor, ...]:
    """Give a sequence a random class."""
    import torch

    return tokens, torch.randint(models.TEXT_LABELS, (), generator=generator)


def masked(tokens: Tensor, generator: Generator) -> tuple[Tensor, ...]:
    """Hide some tokens of a sequence, which are to be guessed."""
    import torch

    hidden = torch.rand(tokens.shape, generator=generator) < MASKED
    return tokens.masked_fill(hidden, MASK_TOKEN), tokens.masked_fill(~hidden, IGNORED)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job."""
    run(option_parser().parse_args(arguments), ["torch", "transformers"], make_task, tunes=False)


if __name__ == "__main__":
    main()
