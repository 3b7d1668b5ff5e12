"""What a device cannot do is known, with its reason, before anything is touched."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench.gpu.inventory import cpu_device
from bench.modes.availability import why_unavailable
from bench.plan.mode import CpuShared, Exclusive, Mig, MigMps, Mps, MpsEqual, MpsPartitions, TimeSlicing

CAN = None
TABLE = [
    ("a100-80gb", True, Mig(), CAN),
    ("a100-80gb", False, Mig(), "--allow-reset"),
    ("h100-80gb", False, Mig(), CAN),
    ("rtx-4090", True, Mig(), "has no MIG"),
    ("rtx-4090", False, Mps(), CAN),
    ("rtx-4090", False, MpsEqual(), CAN),
    ("rtx-4090", False, MpsPartitions(), CAN),
    ("a100-80gb", True, MigMps(), CAN),
    ("a100-80gb", False, MigMps(), "--mode mig-mps"),
    ("rtx-4090", True, MigMps(), "has no MIG"),
    ("rtx-4090", False, TimeSlicing(), CAN),
    ("rtx-4090", False, Exclusive(), CAN),
    ("rtx-4090", False, TimeSlicing(time_slice="long"), CAN),
    ("rtx-4090", False, Mps(active_thread_percentage=(70, 30), memory_limit_gib=(16, 7)), CAN),
    ("rtx-4090", False, Mps(memory_limit_gib=(16, 8)), "add up to 24576 MiB for 2 jobs, and SIMULATED"),
    ("rtx-4090", False, Mps(memory_limit_gib=25), "add up to 25600 MiB for 1 jobs, and SIMULATED"),
    ("a100-80gb", True, CpuShared(), "--device cpu"),
]


def reason(mode, device, allow_reset):
    """Why not this mode, and what would change that; None if it can be entered."""
    why = why_unavailable([mode], device, allow_reset).get(mode.label)
    return None if why is None else str(why)


@pytest.mark.parametrize(("model", "allow_reset", "mode", "why"), TABLE)
def test_modes_of_a_gpu(make_machine, model, allow_reset, mode, why):
    machine = make_machine(model)
    answer = reason(mode, machine.device, allow_reset)
    assert answer is None if why is None else why in answer
    assert machine.changes() == []


def test_a_policy_that_the_driver_would_forget(machine):
    machine.change(persistence=False)
    assert "-pm 1" in reason(TimeSlicing(time_slice="short"), machine.device, allow_reset=False)
    assert reason(TimeSlicing(), machine.device, allow_reset=False) is None


def test_a_policy_needs_root(machine, monkeypatch):
    """Everybody may change a simulated GPU."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    real = replace(machine.device, simulated=False)
    why = reason(TimeSlicing(time_slice="short"), real, allow_reset=False)
    assert why.startswith("only root may set a time-slice policy\nnext: sudo ")
    assert reason(TimeSlicing(), real, allow_reset=False) is None


def test_an_ampere_board_with_mig_on_needs_no_reset(machine):
    machine.change(mig_enabled=True, mig_pending=True)
    assert reason(Mig(), machine.device, allow_reset=False) is None


def test_an_older_driver_has_no_static_partitions(machine):
    machine.change(driver_version="580.126.09")
    why = reason(MpsPartitions(), machine.device, allow_reset=False)
    assert "need driver R590 or newer; this is 580.126.09" in why
    assert "nvidia-driver-590" in why
    assert reason(Mps(), machine.device, allow_reset=False) is None


@pytest.mark.parametrize("mode", [MpsPartitions(), MigMps()], ids=lambda mode: mode.label)
def test_without_the_mps_tool_there_is_neither(machine, mode):
    if shutil.which("nvidia-cuda-mps-control"):
        pytest.skip("this host has the real tool on its PATH")
    for folder in machine.device.environment["PATH"].split(":")[:2]:
        Path(folder, "nvidia-cuda-mps-control").unlink()
    assert "not on PATH" in reason(mode, machine.device, allow_reset=True)


@pytest.mark.parametrize("mode", [Mps(), MpsEqual(), Mig(), TimeSlicing(), MigMps()], ids=lambda mode: mode.label)
def test_a_cpu_is_not_taken_for_a_gpu(mode):
    assert "cpu-shared" in reason(mode, cpu_device(), allow_reset=True)


@pytest.mark.parametrize("mode", [CpuShared(), Exclusive()], ids=lambda mode: mode.label)
def test_modes_of_a_cpu(mode):
    assert reason(mode, cpu_device(), allow_reset=False) is None
