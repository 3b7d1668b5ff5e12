"""The doors against the stand-in driver, which answers every question that this tool asks."""

import os
import subprocess
from dataclasses import replace

import pytest

from bench.clock import SystemClock
from bench.gpu.inventory import find_gpu, fingerprint
from bench.gpu.mps import MpsControl
from bench.gpu.smi import UNKNOWN_FIELD, NvidiaSmi
from bench.telemetry.nvidia import NvidiaSampler
from bench.telemetry.parse import FIELDS_BY_COLUMN, SAMPLED_FIELDS

driver = pytest.importorskip("bench.simulator.driver.install")
state = pytest.importorskip("bench.simulator.driver.state")

UUID = "GPU-11111111-2222-3333-4444-555555555555"


@pytest.fixture
def environment(tmp_path):
    state.create(tmp_path / "driver.json", "a100-80gb", UUID)
    driver.install(tmp_path / "bin", tmp_path / "driver.json")
    return {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


def change(environment, *command):
    subprocess.run(command, env=environment, check=True, capture_output=True)


def test_every_sampled_field_is_answered(environment):
    smi = NvidiaSmi(environment)
    assert UNKNOWN_FIELD not in smi.query_gpu(UUID, SAMPLED_FIELDS).values()
    assert list(smi.names_of(SAMPLED_FIELDS)) == list(SAMPLED_FIELDS)
    assert smi.query_gpu(UUID, ["invented", "compute_mode"]) == {
        "invented": UNKNOWN_FIELD,
        "compute_mode": "Default",
    }


def test_instances_appear_as_they_are_made(environment):
    smi = NvidiaSmi(environment)
    assert (smi.mig_instances(UUID), smi.mig_devices(UUID)) == ([], [])
    change(environment, "nvidia-smi", "-i", UUID, "-mig", "1")
    change(environment, "nvidia-smi", "mig", "-i", UUID, "-cgi", "9,14", "-C")
    made = {(instance.profile, instance.start, instance.size) for instance in smi.mig_instances(UUID)}
    assert made == {("3g.40gb", 0, 4), ("2g.20gb", 4, 2)}
    assert {device.profile for device in smi.mig_devices(UUID)} == {"3g.40gb", "2g.20gb"}
    sizes = {profile.name: (profile.free, profile.sm_count) for profile in smi.mig_profiles(UUID)}
    assert sizes["7g.80gb"] == (0, 98)
    assert smi.mig_placements(UUID)[9].starts == (0, 4)


def test_a_daemon_comes_and_goes(environment, tmp_path):
    daemon = MpsControl(environment, tmp_path / "pipe")
    assert daemon.status() is None
    (tmp_path / "pipe").mkdir()
    here = {"CUDA_MPS_PIPE_DIRECTORY": str(tmp_path / "pipe"), "CUDA_MPS_LOG_DIRECTORY": str(tmp_path)}
    change(environment | here, "nvidia-cuda-mps-control", "-d")
    assert daemon.status().default_active_thread_percentage == 100.0
    assert daemon.server_list() == ()


def test_the_gpu_is_found_fingerprinted_and_watched(environment):
    device = replace(find_gpu("0", environment), environment={"PATH": environment["PATH"]})
    assert fingerprint(device)["power_limit_w"] == 400.0
    clock = SystemClock()
    with NvidiaSampler(device, clock, 0.02).watch() as watch:
        for _ in range(1000):  # 10 s, so that a silent stream fails instead of hanging
            if len(watch.result().samples) >= 3:
                break
            clock.sleep(0.01)
    telemetry = watch.result()
    assert set(telemetry.reasons) == {"energy"}
    assert telemetry.samples[list(FIELDS_BY_COLUMN)].notna().all(axis=None)
