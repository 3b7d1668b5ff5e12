"""What doctor says of each kind of host, and that it leaves every one of them as it was."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli import main
from bench.gpu.inventory import nvidia_present
from bench.launch.docker import BUILD_COMMAND, why_not_docker
from bench.plan.mode import GPU_SHARING_MODES, MODE_TYPES

ENGINE = os.environ.get("DOCKER_HOST")  # the engine of this test run, if it has one

no_gpu_here = pytest.mark.skipif(nvidia_present(os.environ), reason="this host has an NVIDIA GPU")
FINDING = {"name", "available", "detail", "reason", "command"}
DOCUMENT = {
    "schema_version", "device", "modes", "driver", "cuda", "mps_tool", "gpus", "lost_gpus", "holders", "engine",
    "toolkit", "images", "packages", "host", "next_command",
}  # fmt: skip


@no_gpu_here
def test_without_a_gpu_every_gpu_mode_says_why_and_what_to_type(tmp_path):
    command = [sys.executable, "-m", "bench", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    modes = {mode["name"]: mode for mode in document["modes"]}
    assert set(modes) == set(MODE_TYPES)
    for name in GPU_SHARING_MODES:
        assert not modes[name]["available"]
        assert "needs an NVIDIA GPU" in modes[name]["reason"]
        assert modes[name]["command"].endswith(f"--mode {name} --device simulated")
    assert modes["cpu-shared"]["available"]
    assert document["driver"]["available"] is False
    assert not (tmp_path / "state").exists()


@no_gpu_here
def test_the_text_ends_with_the_next_command(capsys, tmp_path):
    assert main(["doctor"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last.startswith("next: python run_experiments.py")
    assert any(line.split()[:2] == ["mig", "no"] for line in lines)
    assert not (tmp_path / "state").exists()


def test_the_document_keeps_its_keys(diagnosis):
    document = diagnosis("--device", "simulated")
    assert set(document) == DOCUMENT
    assert document["schema_version"] == 1
    (gpu,) = document["gpus"]
    findings = [
        *document["modes"], *document["images"], *document["packages"], *gpu["modes"], gpu["clock_lock"],
        gpu["persistence"], gpu["last_run"], *document["host"]["presets"], document["host"]["disk"],
        *(document[name] for name in ("driver", "cuda", "mps_tool", "engine", "toolkit")),
    ]  # fmt: skip
    for finding in findings:
        assert set(finding) == FINDING
        assert finding["available"] or finding["reason"]


def test_a_simulated_a100_does_every_gpu_mode_and_is_not_touched(modes, diagnosis, tmp_path):
    diagnosis("--device", "simulated:a100-80gb")  # makes the modelled GPU
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files(tmp_path / "state")}
    told = modes("--device", "simulated:a100-80gb")
    assert [name for name, mode in told.items() if not mode["available"]] == ["cpu-shared"]
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files(tmp_path / "state")} == before


def test_doctor_and_the_refusal_of_a_run_give_the_same_reason(modes, capsys):
    mig = modes("--device", "simulated:rtx-4090")["mig"]
    assert "has no MIG" in mig["reason"]
    assert main(["run", "--mode", "mig", "--device", "simulated:rtx-4090"]) == 2
    refusal = capsys.readouterr().err
    assert mig["reason"] in refusal
    assert mig["command"] in refusal


@pytest.mark.parametrize(
    ("status", "text", "command"),
    [
        (9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", "modprobe nvidia"),
        (18, "Failed to initialize NVML: Driver/library version mismatch", "reboot"),
        (255, "Failed to initialize NVML: Unknown Error", "docker restart"),
    ],
)
def test_a_broken_driver_is_told_as_such(diagnosis, tool, monkeypatch, tmp_path, status, text, command):
    environment = tool("nvidia-smi", f'echo "{text}"; exit {status}')
    monkeypatch.setenv("PATH", environment["PATH"])
    document = diagnosis()
    assert document["device"] is None
    assert text in document["driver"]["reason"]
    assert command in document["next_command"]
    for mode in document["modes"]:
        assert not mode["available"]
        if mode["name"] != "cpu-shared":
            assert text in mode["reason"]
            assert command in mode["command"]
    assert not (tmp_path / "state").exists()


def test_the_cores_of_the_host_are_judged_on_request_even_beside_a_gpu(host, modes, diagnosis):
    host("h100-80gb")
    told = modes("--device", "cpu")
    assert [name for name, mode in told.items() if mode["available"]] == ["exclusive", "cpu-shared"]
    assert told["mps"]["command"] == "python run_experiments.py --mode mps --device cuda"
    assert len(diagnosis("--device", "cpu")["gpus"]) == 1


def test_the_text_tells_what_each_gpu_can_do_and_who_is_on_it(host, capsys):
    bench = host("h100-80gb")
    bench.change(lambda state: state.add_client(4711, "train.py", state.gpu_uuid, 900))
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert (
        "modes: exclusive, time-slicing, mps, mps-equal, mps-partitions, as-found; not: mig, mig-mps, cpu" in text
    )
    assert "process 4711 train.py, 900 MiB" in text


def test_a_host_too_small_for_a_preset_is_told_with_the_sums(host, diagnosis, monkeypatch):
    host("h100-80gb")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    presets = {preset["name"]: preset for preset in diagnosis()["host"]["presets"]}
    assert not presets["preset standard"]["available"]
    assert "4 + 4 = 8 cores, this host has 1" in presets["preset standard"]["reason"]


def test_a_device_that_is_not_there_is_refused_and_not_diagnosed(host, capsys):
    host("h100-80gb")
    assert main(["doctor", "--device", "cuda:7"]) == 2
    assert "cuda:INDEX" in capsys.readouterr().err


def test_an_engine_that_does_not_answer_names_its_address_and_the_command(diagnosis, tmp_path):
    engine = diagnosis("--device", "simulated")["engine"]
    assert not engine["available"]
    assert f"unix://{tmp_path}/docker.sock" in engine["reason"]
    assert engine["command"] == "sudo apt-get install docker.io"


@pytest.mark.parametrize(
    ("tools", "available", "words"),
    [
        (["nvidia-container-runtime-hook", "nvidia-ctk"], True, "nvidia-container-runtime-hook"),
        (["nvidia-ctk"], False, "not configured"),
        ([], False, "no nvidia-container-runtime-hook"),
    ],
)
def test_the_toolkit_is_known_by_its_traces(diagnosis, tool, monkeypatch, tools, available, words):
    for name in tools:
        monkeypatch.setenv("PATH", tool(name, "exit 1")["PATH"])
    toolkit = diagnosis("--device", "simulated")["toolkit"]
    assert toolkit["available"] is available
    assert words in (toolkit["detail"] or toolkit["reason"])
    assert available or "nvidia-ctk runtime configure" in toolkit["command"]


@pytest.mark.docker
def test_an_engine_that_answers_tells_its_version(diagnosis, monkeypatch):
    if ENGINE:
        monkeypatch.setenv("DOCKER_HOST", ENGINE)
    else:
        monkeypatch.delenv("DOCKER_HOST")
    if reason := why_not_docker([]):
        (pytest.fail if os.environ.get("BENCH_REQUIRE_DOCKER") else pytest.skip)(reason)
    document = diagnosis("--device", "simulated")
    assert document["engine"]["available"]
    assert document["engine"]["detail"][0].isdigit()
    assert all(image["command"] == BUILD_COMMAND for image in document["images"] if not image["available"])


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
