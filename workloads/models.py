"""The models that tenants run, with random weights, and synthetic inputs that live on the device."""

# ruff: noqa: PLC0415  (late imports: --help is instant, and a missing library is reported as an event)
from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from workloads.torch_device import TorchDevice

if TYPE_CHECKING:
    from torch import Tensor, nn

RESNETS = ("resnet18", "resnet50", "resnet152")
BERTS = ("bert-base",)
GPT2S = ("gpt2",)
IMAGE_CLASSES = 1000  # as ImageNet
TEXT_LABELS = 2
VOCABULARY = 30522  # as bert-base-uncased
GPT2_VOCABULARY = 50257
PATCH_SIZE = 16  # pixels: the 16 of ViT-B/16


def resnet(options: Namespace, device: TorchDevice) -> nn.Module:
    """Return torchvision's ResNet named `options.model` on the device."""
    from torchvision import models

    model: nn.Module = models.get_model(options.model, weights=None, num_classes=IMAGE_CLASSES)
    return model.to(device.torch_device, memory_format=_memory_format(options))


def images(options: Namespace, device: TorchDevice) -> Tensor:
    """Return one batch of random images."""
    import torch

    shape = (options.batch_size, 3, options.image_size, options.image_size)
    return torch.randn(shape, device=device.torch_device).to(memory_format=_memory_format(options))


def vit(options: Namespace, device: TorchDevice) -> nn.Module:
    """Return torchvision's vision transformer with patches of 16 pixels on the device."""
    from torchvision.models import VisionTransformer

    model: nn.Module = VisionTransformer(
        image_size=options.image_size,
        patch_size=PATCH_SIZE,
        num_layers=options.layers,
        num_heads=options.attention_heads,
        hidden_dim=options.hidden_size,
        mlp_dim=4 * options.hidden_size,
        num_classes=IMAGE_CLASSES,
    )
    return model.to(device.torch_device, memory_format=_memory_format(options))


def gpt2(options: Namespace, device: TorchDevice) -> nn.Module:
    """Return a GPT-2 language model on the device, built from its configuration class."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=GPT2_VOCABULARY,
        n_positions=max(1024, options.sequence_length),
        n_layer=options.layers,
        n_embd=options.hidden_size,
        n_head=options.attention_heads,
    )
    model: nn.Module = GPT2LMHeadModel(config)
    return model.to(device.torch_device)


def bert(options: Namespace, device: TorchDevice, task: str = "classification") -> nn.Module:
    """Return a BERT on the device, built from its configuration class: a classifier of sequences, or masked LM."""
    from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

    config = BertConfig(
        vocab_size=VOCABULARY,
        num_labels=TEXT_LABELS,
        num_hidden_layers=options.layers,
        hidden_size=options.hidden_size,
        num_attention_heads=options.attention_heads,
        intermediate_size=4 * options.hidden_size,
        max_position_embeddings=max(512, options.sequence_length),
    )
    model: nn.Module = (BertForMaskedLM if task == "masked-lm" else BertForSequenceClassification)(config)
    return model.to(device.torch_device)


def token_ids(options: Namespace, device: TorchDevice) -> Tensor:
    """Return one batch of random token sequences, all of full length."""
    return integers(VOCABULARY, (options.batch_size, options.sequence_length), device)


def integers(below: int, shape: tuple[int, ...], device: TorchDevice) -> Tensor:
    """Return random integers in [0, below) on the device: tokens, or labels."""
    import torch

    return torch.randint(below, shape, device=device.torch_device)


def _memory_format(options: Namespace) -> object:
    import torch

    return torch.channels_last if options.channels_last else torch.contiguous_format
