"""Every workload of the catalog really works, through the protocol, on the CPU and on a GPU."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.launch.events import EventLog
from workloads.torch_device import most

TINY: dict[str, dict[str, object]] = {
    "resnet18-training": {"batch_size": 2, "image_size": 32},
    "resnet50-training": {"batch_size": 2, "image_size": 32, "channels_last": False},
    "bert-base-training": {"batch_size": 2, "sequence_length": 8, "layers": 1, "precision": "bf16"},
    "resnet152-training": {"batch_size": 2, "image_size": 32},
    "bert-large-training": {"batch_size": 2, "sequence_length": 8, "layers": 1, "task": "masked-lm"},
    "gpt2-training": {"batch_size": 2, "sequence_length": 8, "layers": 1},
    "vit-b16-training": {"batch_size": 2, "image_size": 32, "layers": 1},
    "resnet50-batch-inference": {"batch_size": 2, "image_size": 32},
    "bert-base-batch-inference": {"batch_size": 2, "sequence_length": 8, "layers": 1},
    "first-context": {"batch_size": 2},
}
LIBRARIES_MISSING = any(
    importlib.util.find_spec(name) is None for name in ("torch", "torchvision", "transformers")
)
needs_libraries = pytest.mark.skipif(
    LIBRARIES_MISSING and not os.environ.get("BENCH_REQUIRE_WORKLOADS"),
    reason="the extra `workloads` is not installed",
)


@pytest.mark.workloads
@needs_libraries
@pytest.mark.parametrize("name", TINY)
def test_on_the_cpu(start_workload: Callable[..., Any], name: str) -> None:
    tenant = start_workload(name, "cpu", warmup_steps=1, **TINY[name])
    check_a_life(tenant, batch_size=2)
    identity = tenant.await_event("identity")
    assert identity["device_uuid"] is None
    assert identity["sm_count"] is None
    assert tenant.await_event("hello")["libraries"]["torch"]
    assert tenant.await_event("ready")["autotune"] is False


@pytest.mark.gpu
@pytest.mark.workloads
@needs_libraries
@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("name", TINY)
def test_on_a_gpu(start_workload: Callable[..., Any], catalog: dict[str, Any], name: str, precision: str) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    tenant = start_workload(name, "cuda", precision=precision)
    check_a_life(tenant, batch_size=catalog[name]["parameters"]["batch_size"])
    identity = tenant.await_event("identity")
    assert identity["device_uuid"].startswith(("GPU-", "MIG-"))
    assert identity["sm_count"] > 0
    assert identity["memory_total_mib"] > 1000
    assert identity["allocatable_mib"] is None


@pytest.mark.gpu
@pytest.mark.workloads
@needs_libraries
def test_a_job_that_is_asked_tries_how_much_memory_it_can_allocate(
    start_workload: Callable[..., Any], catalog: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    monkeypatch.setenv("BENCH_PROBE_MEMORY", "1")
    tenant = start_workload("resnet18-training", "cuda", precision="bf16")
    check_a_life(tenant, batch_size=catalog["resnet18-training"]["parameters"]["batch_size"])
    identity = tenant.await_event("identity")
    assert 1000 < identity["allocatable_mib"] <= identity["memory_total_mib"]
    assert tenant.events()[-1]["peak_memory_mib"] < 0.9 * identity["allocatable_mib"]  # the trial is no use


@pytest.mark.parametrize("highest", [0, 1, 7, 1280])
def test_the_most_that_fits_is_found(highest: int) -> None:
    for limit in {0, 1, highest // 2, highest, highest + 5}:
        tried: list[int] = []

        def fits(number: int, limit: int = limit, tried: list[int] = tried) -> bool:
            tried.append(number)
            return number <= limit

        assert most(fits, highest) == min(limit, highest)
        assert len(tried) <= highest.bit_length()


@pytest.mark.workloads
@needs_libraries
def test_the_first_context_is_timed_from_the_start_of_the_process(start_workload: Callable[..., Any]) -> None:
    began_s = time.monotonic()
    tenant = start_workload("first-context", "cpu")
    identity = tenant.await_event("identity")
    parts_s = [identity[part] for part in ("startup_s", "import_s", "context_s")]
    assert min(parts_s) > 0
    assert sum(parts_s) <= identity["time_s"] - began_s + 0.02  # two ticks of the kernel's clock for processes
    tenant.release(in_s=0.0, for_s=0.1)
    assert tenant.finish() == 0


def check_a_life(tenant: Any, *, batch_size: int) -> None:
    """Start, work for a moment and stop one workload; check what it said."""
    ready = tenant.await_event("ready")
    assert set(ready["warmup"]["items"]) == {batch_size}
    start_s, stop_s = tenant.release(in_s=0.1, for_s=0.5)
    assert tenant.finish() == 0
    assert tenant.names() == ["hello", "identity", "ready", "step", "done"]
    ends_s, durations_s, items = tenant.steps()
    assert ends_s[0] - durations_s[0] >= start_s
    assert ends_s[-1] >= stop_s
    assert set(items) == {batch_size}
    assert tenant.events()[-1]["peak_memory_mib"] > 1
    assert EventLog(tenant.folder / "events.jsonl").read().problems == []


@pytest.mark.workloads
@needs_libraries
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_step_learns(precision: str) -> None:
    import torch

    from workloads.torch_device import TorchDevice
    from workloads.training.step import TrainingStep

    device = TorchDevice(Namespace(device="cpu", precision=precision, seed=1))
    model = torch.nn.Linear(8, 1)
    inputs = torch.randn(16, 8)
    losses: list[float] = []

    def loss(batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return (model(batch[0]) - 1).square().mean()

    step = TrainingStep(device, torch.optim.SGD(model.parameters(), lr=0.05), loss)
    for _ in range(30):
        losses.append(step([(inputs,)]).item())
    assert losses[-1] < losses[0] / 2


@pytest.mark.workloads
@needs_libraries
def test_a_seed_fixes_the_model_and_its_input() -> None:
    from workloads import models
    from workloads.inference.batch_inference import option_parser
    from workloads.torch_device import TorchDevice

    words = ["--device", "cpu", "--precision", "fp32", "--model", "resnet18", "--batch-size", "1"]

    def answer(seed: int) -> list[float]:
        options = option_parser().parse_args([*words, "--image-size", "32", "--seed", str(seed)])
        device = TorchDevice(options)
        logits = models.resnet(options, device).eval()(models.images(options, device))
        return [round(value, 4) for value in logits[0, :5].tolist()]

    assert answer(1) == answer(1) != answer(2)


@pytest.mark.workloads
@needs_libraries
def test_the_documented_example_is_a_job(start_tenant: Callable[..., Any], root: Path, tmp_path: Path) -> None:
    page = (root / "docs" / "bring_your_own.md").read_text(encoding="utf-8")
    example = page.split("```python")[2].split("```")[0]
    on_cpu = example.replace(".cuda()", "").replace("torch.cuda.synchronize()", "")
    on_cpu = on_cpu.replace("torch.cuda.get_device_name()", "'a processor'")
    (tmp_path / "example.py").write_text(on_cpu, encoding="utf-8")
    shutil.copy(root / "workloads" / "job.py", tmp_path)
    tenant = start_tenant([sys.executable, str(tmp_path / "example.py")])
    tenant.await_event("ready")
    tenant.release(in_s=0.0, for_s=0.2)
    assert tenant.finish() == 0
    assert tenant.names() == ["hello", "identity", "ready", "step", "done"]
