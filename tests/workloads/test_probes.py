"""The probes press as hard as their dial says, in physical units, on the CPU and on a GPU."""

from __future__ import annotations

import time
from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Any

import pytest

from workloads.probes.aggressor import option_parser, share
from workloads.probes.duty import DutyCycle
from workloads.probes.pressure import PRESSURES

PROBES = (
    "sm-probe",
    "tensor-probe",
    "l2-probe",
    "bandwidth-probe",
    "pcie-h2d-probe",
    "pcie-d2h-probe",
    "cpu-probe",
    "memory-probe",
)


def life(tenant: Any, *, for_s: float) -> tuple[list[float], list[float], dict[str, Any]]:
    """Let a probe live once; return durations and items of its steps, and what it told of its load."""
    tenant.await_event("ready")
    tenant.release(in_s=0.0, for_s=for_s)
    assert tenant.finish() == 0
    assert tenant.names() == ["hello", "identity", "ready", "step", "load", "done"]
    _, durations_s, items = tenant.steps()
    return durations_s, items, tenant.await_event("load")["details"]


def test_every_resource_has_a_probe(catalog: dict[str, Any]) -> None:
    assert {catalog[name]["parameters"]["resource"] for name in PROBES} == set(PRESSURES)


@pytest.mark.workloads
@pytest.mark.parametrize("name", PROBES)
def test_on_the_cpu(start_workload: Callable[..., Any], catalog: dict[str, Any], name: str) -> None:
    pytest.importorskip("torch")
    changes = {} if name == "memory-probe" else {"intensity": 0.9}
    tenant = start_workload(name, "cpu", **changes)
    _, items, told = life(tenant, for_s=0.3)
    entry = catalog[name]
    assert set(items) == {entry["cpu_parameters"].get("batch_size", entry["parameters"]["batch_size"])}
    assert told["resource"] == entry["parameters"]["resource"]
    assert 0 < told["duty"] <= 1


@pytest.mark.workloads
def test_the_dial_holds_whatever_the_work_takes(start_workload: Callable[..., Any]) -> None:
    pytest.importorskip("torch")
    tenant = start_workload("l2-probe", "cpu", intensity=0.2)
    _, _, told = life(tenant, for_s=2.0)
    assert told["duty"] == pytest.approx(0.2, abs=0.02)


@pytest.mark.workloads
def test_the_footprint_is_the_share_of_memory_that_the_dial_names(start_workload: Callable[..., Any]) -> None:
    pytest.importorskip("torch")
    tenant = start_workload("memory-probe", "cpu", intensity=0.03)
    life(tenant, for_s=0.1)
    total_mib = tenant.await_event("identity")["memory_total_mib"]
    held_mib = tenant.await_event("done")["peak_memory_mib"]
    assert 0.03 * total_mib <= held_mib < 0.03 * total_mib + 1500  # and torch itself


@pytest.mark.gpu
@pytest.mark.workloads
@pytest.mark.parametrize("name", PROBES)
def test_on_a_gpu(start_workload: Callable[..., Any], catalog: dict[str, Any], name: str) -> None:
    """A rate above what any device can do would mean that the work is not done."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    durations_s, items, told = life(start_workload(name, "cuda"), for_s=2.0)
    rate = sum(items) / sum(durations_s)
    floor, ceiling = {"sm": (5_000, 150_000), "tensor": (50_000, 2_500_000), "memory": (300, 30_000)}.get(
        told["resource"], (1, 2_000)
    )
    assert floor < rate < ceiling
    assert told["duty"] == pytest.approx(1)


@pytest.mark.parametrize("intensity", [0.1, 0.5, 1.0])
def test_rest_follows_work_in_proportion(intensity: float) -> None:
    duty = DutyCycle(intensity, lambda: time.sleep(0.002))
    assert duty.achieved is None
    for _ in range(10):
        duty()
    assert duty.achieved == pytest.approx(intensity, rel=0.2)
    duty.restart()
    assert duty.achieved is None


@pytest.mark.parametrize("text", ["0", "-1", "1.01", "nan"])
def test_a_dial_beyond_its_ends_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="above 0 and at most 1"):
        share(text)


def test_help_says_what_an_item_is() -> None:
    assert "1 GFLOP (sm, tensor, host)" in option_parser().format_help()
