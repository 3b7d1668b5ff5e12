"""How fast a workload is beside a plain loop around its library: `python benchmarks/solo_reference.py --help`.

A is the workload's own step, as `Job` drives it, B a loop as the docs of its library write it. Steps alternate in
the order A, B, B, A, so that whatever else the machine does meets both. Printed for each workload: the ratio of
speeds (1: as fast as the plain loop) with its 95 % interval over rounds, from the t distribution of log-ratios.
At least 0.95 is the target; below it the exit code is 1. Parameters are the catalog's.

Others have scripts of their own, with the same options: ddp-resnet50-training (ddp_reference.py: it is two
processes), tensorflow-resnet50-training (tensorflow_reference.py: TensorFlow is in an image of its own, not beside
torch) and the servers (server_reference.py: their speed is that of requests). Not compared are the probes and
jupyter, which redo nobody's example.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is there, as TorchDevice does on a CPU

import torch
from side_by_side import Step, arguments, compare, option_parser
from torch import nn
from transformers import GenerationConfig

from bench.plan.catalog import EXTRA, Workload, load_catalog
from workloads import models
from workloads.inference.batch_inference import inference_step
from workloads.inference.generation import decoder
from workloads.inference.llm_generation import Offline
from workloads.torch_device import TorchDevice
from workloads.training.trainer import Trainer


def main() -> int:
    """Compare the workloads named, or all; 0 where each reaches the target."""
    known = {name: each for name, each in load_catalog().items() if each.install == EXTRA and each.whole_gpus == 1}
    known = {name: each for name, each in known.items() if _reference(each)}
    parser = option_parser(__doc__)
    parser.add_argument("names", nargs="*", default=[*known], help="workloads of the catalog (default: all)")
    options = parser.parse_args()
    reached = [compare(name, *_steps(known[name], options.device), options) for name in options.names]
    return 0 if all(reached) else 1


def _steps(workload: Workload, on: str) -> tuple[Step, Step]:
    reference = _reference(workload)
    assert workload.module is not None
    assert reference is not None  # others are not compared
    module = importlib.import_module(workload.module)
    options = module.option_parser().parse_args(arguments(workload, on))
    device = TorchDevice(options)
    own = OWN.get(_program(workload), partial(_training_step, module))
    return finished(own(options, device), device), finished(reference(options, device), device)


def finished(step: Step, device: TorchDevice) -> Step:
    """Return a step that ends with the device idle, as those of a job do."""

    def whole() -> None:
        step()
        device.synchronize()

    return whole


def _training_step(module: ModuleType, options: argparse.Namespace, device: TorchDevice) -> Step:
    return Trainer(module.make_task(options, device), options, device, lambda _wait_s: None)


Maker = Callable[[argparse.Namespace, TorchDevice], Step]


def _reference(workload: Workload) -> Maker | None:
    return REFERENCES.get(_program(workload))


def _program(workload: Workload) -> str:
    return (workload.module or "").rpartition(".")[2]


def plain_vision(
    options: argparse.Namespace, device: TorchDevice, wrapped: Callable[[Any], Any] = lambda model: model
) -> Step:
    """Return torchvision's way: criterion on the model's output, SGD with momentum or AdamW."""
    is_vit = not hasattr(options, "model")
    model = wrapped((models.vit if is_vit else models.resnet)(options, device).train())
    images = models.images(options, device)
    target = models.integers(models.IMAGE_CLASSES, (options.batch_size,), device)
    criterion = nn.CrossEntropyLoss()
    optimizer = (
        torch.optim.AdamW(model.parameters(), lr=5e-5)
        if is_vit
        else torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    )
    return _plain_loop(optimizer, options, device, lambda: criterion(model(images), target))


def plain_text(options: argparse.Namespace, device: TorchDevice) -> Step:
    """Return transformers' way: the model computes its own loss from the labels; AdamW."""
    is_bert = hasattr(options, "task")
    model = (models.bert if is_bert else models.gpt2)(options, device).train()
    below = models.VOCABULARY if is_bert else models.GPT2_VOCABULARY
    tokens = models.integers(below, (options.batch_size, options.sequence_length), device)
    labels = models.integers(models.TEXT_LABELS, (options.batch_size,), device) if is_bert else tokens
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    return _plain_loop(optimizer, options, device, lambda: model(input_ids=tokens, labels=labels).loss)


def _plain_loop(
    optimizer: torch.optim.Optimizer, options: argparse.Namespace, device: TorchDevice,
    loss_of: Callable[[], torch.Tensor],
) -> Step:  # fmt: skip
    kind, mixed = device.torch_device.type, options.precision != "fp32"

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=mixed):
            loss = loss_of()
        loss.backward()
        optimizer.step()

    return step


def plain_inference(options: argparse.Namespace, device: TorchDevice) -> Step:
    """Return the libraries' way: the model in eval mode, without gradients, classes to the host."""
    is_text = options.model in models.BERTS
    model = (models.bert if is_text else models.resnet)(options, device).to(device.dtype).eval()
    batch = models.token_ids(options, device) if is_text else models.images(options, device).to(device.dtype)

    def step() -> None:
        with torch.no_grad():
            output = model(batch)
            (output.logits if is_text else output).argmax(-1).cpu()

    return step


def plain_generation(options: argparse.Namespace, device: TorchDevice) -> Step:
    """Return transformers' way: `generate`, greedily, with its own cache, and as many tokens as asked for."""
    model: Any = decoder(options, device)
    shape = (options.batch_size, options.prompt_length)
    prompts = models.integers(models.GPT2_VOCABULARY, shape, device)
    model.generation_config = GenerationConfig(  # the model's own would go on looking for an end token
        do_sample=False, min_new_tokens=options.output_length, max_new_tokens=options.output_length, pad_token_id=0
    )
    mask = torch.ones_like(prompts)

    def step() -> None:
        tokens = model.generate(prompts, attention_mask=mask)
        assert tokens.shape[1] == options.prompt_length + options.output_length

    return step


OWN: dict[str, Maker] = {  # others train
    "batch_inference": inference_step,
    "llm_generation": lambda options, device: Offline(options, device).generate,
}
REFERENCES: dict[str, Maker] = {
    "resnet_training": plain_vision,
    "vit_training": plain_vision,
    "bert_training": plain_text,
    "gpt2_training": plain_text,
    "batch_inference": plain_inference,
    "llm_generation": plain_generation,
}

if __name__ == "__main__":
    sys.exit(main())
