"""`--device` and `--launcher` become a rig, or an error that says what to use instead."""

import os

import pytest

from bench.errors import SetupError
from bench.gpu.inventory import nvidia_present
from bench.launch.process import ProcessLauncher
from bench.plan.catalog import load_catalog
from bench.rig import find_device, reserved


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_STATE_DIR", str(tmp_path / "state"))


@pytest.mark.parametrize("request_", ["cpu", "simulated:a100-80gb", "simulated:rtx-4090"])
def test_a_selector_finds_its_device_again(request_):
    device = find_device(request_)
    assert device.selector == request_
    assert find_device(device.selector) == device


def test_the_default_simulated_device_is_named_in_full():
    assert find_device("simulated").selector == "simulated:a100-80gb"


@pytest.mark.skipif(nvidia_present(os.environ), reason="this host has an NVIDIA device")
def test_auto_simulates_only_where_there_is_no_nvidia_device(tool, monkeypatch):
    assert find_device("auto").simulated
    monkeypatch.setenv("PATH", tool("nvidia-smi", "echo NVIDIA-SMI has failed; exit 9")["PATH"])
    with pytest.raises(SetupError, match="driver"):
        find_device("auto")


@pytest.mark.parametrize("wrong", ["gpu", "cpu:0", "auto:0", "Simulated", ""])
def test_other_requests_list_what_there_is(wrong):
    with pytest.raises(SetupError, match=r"use auto, cpu, cuda\[:INDEX_OR_UUID\] or simulated\[:MODEL\]"):
        find_device(wrong)


def test_a_simulated_rig_says_what_has_checked_its_model():
    with reserved(find_device("simulated:a100-80gb"), "auto", False, []) as rig:
        assert rig.launcher.name == "simulated"
        assert rig.description["simulated"] is True
        assert "mean error" in rig.description["model_validation"]
        assert rig.left_behind is None
    with reserved(find_device("simulated:rtx-4090"), "auto", False, []) as rig:
        assert rig.description["model_validation"] is None


def test_the_cores_of_the_host_make_a_rig_without_telemetry():
    with reserved(find_device("cpu"), "process", False, []) as rig:
        assert isinstance(rig.launcher, ProcessLauncher)
        assert rig.description["kind"] == "cpu"
        with rig.sampler.watch() as watch:
            pass
        assert "NVIDIA" in str(watch.result().reasons)


def test_a_launcher_is_not_for_simulated_jobs():
    with (
        pytest.raises(SetupError, match="simulated jobs only"),
        reserved(find_device("simulated"), "docker", False, list(load_catalog().values())),
    ):
        pass
