"""Greedy generation with a decoder-only model and its KV cache: prefill and decode are calls of their own.

Prefill reads the whole prompt at once and gives the first token; decode then gives one token a pass. There is no
end token: as many are generated as asked for, so that equal requests are equal work.
"""

# ruff: noqa: PLC0415  (late imports: --help is instant, and a missing library is reported as an event)
from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from workloads import models
from workloads.torch_device import TorchDevice

if TYPE_CHECKING:
    from torch import Tensor, nn


def decoder(options: Namespace, device: TorchDevice) -> nn.Module:
    """Return a GPT-2 in the device's precision, with positions for the prompt and all that follows it."""
    length = options.prompt_length + options.output_length
    sized = Namespace(**{**vars(options), "sequence_length": length})
    return models.gpt2(sized, device).to(device.dtype).eval()


class Generation:
    """One batch of prompts on its way. `tokens` holds what was generated so far, a column a token."""

    def __init__(self, model: nn.Module, prompts: Tensor, mask: Tensor | None = None) -> None:
        """Begin with prompts of one length; where some are shorter, padded on the left, `mask` is 0 there."""
        self.tokens = prompts[:, :0]
        self._model: Any = model
        self._last = prompts
        self._mask = mask
        self._positions = None if mask is None else (mask.cumsum(-1) - 1).clamp(min=0)
        self._cache: Any = None

    def prefill(self) -> None:
        """Read the prompts and generate the first token of each."""
        self._advance()

    def decode(self, count: int) -> None:
        """Generate `count` more tokens of each, one after another."""
        import torch

        for _ in range(count):
            if self._mask is not None and self._positions is not None:
                self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], dim=1)
                self._positions = self._positions[:, -1:] + 1
            self._advance()

    def _advance(self) -> None:
        """Run the model on what it has not seen; only the last position needs its logits."""
        import torch

        with torch.inference_mode():
            seen = self._model.transformer(
                self._last,
                past_key_values=self._cache,
                attention_mask=self._mask,
                position_ids=self._positions,
                use_cache=True,
            )
            self._cache = seen.past_key_values
            self._last = self._model.lm_head(seen.last_hidden_state[:, -1:]).argmax(dim=-1)
            self.tokens = torch.cat([self.tokens, self._last], dim=1)
