"""Offline generation: what is generated, and how prefill and decode are told apart."""

from __future__ import annotations

import importlib.util
import os
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import pytest

MISSING = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.workloads,
    pytest.mark.skipif(
        bool(MISSING) and not os.environ.get("BENCH_REQUIRE_WORKLOADS"),
        reason="the extra `workloads` is not installed",
    ),
]
NAME = "gpt2-llm-generation"
SIZES = {"batch_size": 2, "prompt_length": 8, "output_length": 5, "layers": 2, "warmup_steps": 1}
MODEL = Namespace(prompt_length=8, output_length=8, layers=2, hidden_size=32, attention_heads=2)


def check_a_life(tenant: Any, batch_size: int, output_length: int) -> None:
    """Start, work for a moment and stop; check what was said."""
    ready = tenant.await_event("ready")
    assert set(ready["warmup"]["items"]) == {batch_size * output_length}
    start_s, stop_s = tenant.release(in_s=0.1, for_s=0.5)
    assert tenant.finish() == 0
    assert tenant.names() == ["hello", "identity", "ready", "step", "done"]
    ends_s, durations_s, items = tenant.steps()
    prefill, decode = batch_size, batch_size * (output_length - 1)
    assert items == [prefill, decode] * (len(items) // 2)
    assert ends_s[0] - durations_s[0] >= start_s
    assert ends_s[-1] >= stop_s
    assert min(durations_s) > 0
    assert tenant.events()[-1]["peak_memory_mib"] > 1
    out, _ = tenant.process.communicate()
    assert "median TTFT" in out
    assert "median TPOT" in out


def test_on_the_cpu(start_workload: Callable[..., Any]) -> None:
    check_a_life(start_workload(NAME, "cpu", **SIZES), batch_size=2, output_length=5)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_on_a_gpu(start_workload: Callable[..., Any], catalog: dict[str, Any], precision: str) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    sizes = catalog[NAME]["parameters"]
    tenant = start_workload(NAME, "cuda", precision=precision)
    check_a_life(tenant, sizes["batch_size"], sizes["output_length"])


@pytest.fixture
def model() -> Any:
    """Give a small decoder."""
    from workloads.inference.generation import decoder
    from workloads.torch_device import TorchDevice

    return decoder(MODEL, TorchDevice(Namespace(device="cpu", precision="fp32", seed=1)))


def test_the_cache_changes_nothing(model: Any) -> None:
    """What is generated is what the whole model, without a cache, finds most likely at each place."""
    import torch

    from workloads.inference.generation import Generation

    prompts = torch.randint(1000, (2, 8))
    generation = Generation(model, prompts)
    generation.prefill()
    assert generation.tokens.shape == (2, 1)
    generation.decode(5)
    assert generation.tokens.shape == (2, 6)
    whole = torch.cat([prompts, generation.tokens], dim=1)
    with torch.inference_mode():
        expected = model(whole).logits[:, 7:-1].argmax(dim=-1)
    assert torch.equal(generation.tokens, expected)


def test_padding_on_the_left_changes_nothing(model: Any) -> None:
    import torch

    from workloads.inference.generation import Generation

    def generated(prompts: Any, mask: Any = None) -> list[list[int]]:
        generation = Generation(model, prompts, mask)
        generation.prefill()
        generation.decode(4)
        return generation.tokens.tolist()

    short, full = torch.randint(1000, (1, 5)), torch.randint(1000, (1, 8))
    padded = torch.cat([torch.cat([torch.zeros(1, 3, dtype=torch.long), short], dim=1), full])
    mask = torch.tensor([[0] * 3 + [1] * 5, [1] * 8])
    assert generated(padded, mask) == [*generated(short), *generated(full)]


def test_a_single_token_is_no_decode() -> None:
    from workloads.inference.llm_generation import main

    with pytest.raises(SystemExit) as refused:
        main(["--output-length", "1"])
    assert refused.value.code == 2
