"""The selftest end to end: on the simulated device, on one that lies, and on one that it must leave alone."""

import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bench.gpu.captures import read_capture
from bench.store.reference import REFERENCE_FOLDER, masked
from bench.store.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
SMI, MPS = "nvidia-smi", "nvidia-cuda-mps-control"


@pytest.fixture
def selftest(place):
    """Run the selftest with its evidence under the place's folder."""

    def run(*arguments, device="simulated:a100-80gb", output=None, **options):
        output = output or place.folder / "kept"
        given = ("--device", device, "--output", output, "--quiet", *arguments)
        return place.run("selftest", *given, program="-m bench", **options)

    return run


@pytest.fixture
def kept(place):
    """The one folder that was kept."""
    return lambda: kept_in(place.folder)


@pytest.fixture(scope="module")
def finished():
    """A selftest that nobody disturbed: what it printed, and the folder below which all of it lies."""
    with tempfile.TemporaryDirectory(
        prefix="b", dir="/tmp"
    ) as folder:  # short: an MPS socket must fit in 107 bytes
        command = [sys.executable, "-m", "bench", "selftest", "--device", "simulated:a100-80gb", "--quiet"]
        done = subprocess.run(
            [*command, "--output", f"{folder}/kept"], env={**os.environ, "BENCH_STATE_DIR": f"{folder}/s"},
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        yield done, Path(folder)


def kept_in(folder):
    (kept,) = (folder / "kept").glob("[!.]*")
    return kept


def evidence(folder):
    return json.loads((folder / "evidence.json").read_text())


def failed(folder):
    told = [claim for claim in evidence(folder)["claims"] if not claim["evidence"]["holds"]]
    return {(claim["mode"], claim["evidence"]["claim"]): claim["evidence"]["observed"] for claim in told}


def nvidia_smi(place, *arguments):
    (tool,) = place.folder.glob(f"s/GPU-*/driver/bin/{SMI}")
    subprocess.run([tool, *arguments], env=place.environment(), check=True, capture_output=True)


def test_every_claim_holds_on_the_simulated_device(finished):
    done, folder = finished[0], kept_in(finished[1])
    assert (done.returncode, done.stderr) == (0, "")
    assert folder.name.startswith("selftest-simulated-nvidia-a100-sxm4-80gb-2")
    document = evidence(folder)
    assert (document["holds"], document["simulated"]) == (True, True)
    assert (folder / "summary.md").read_text() + f"\nkept in {folder}\n" == done.stdout
    claims = {(claim["mode"], claim["evidence"]["claim"]): claim["evidence"] for claim in document["claims"]}
    tenant = "resnet50-training batch_size=32 #2"
    half = claims["mps 50%", f"{tenant} sees 50 % of the SMs that a job alone sees, within 2 SMs"]
    assert (half["expected"], half["observed"]) == (54, 54)
    assert claims["time-slicing", f"{tenant} sees the SMs that a job alone sees"]["observed"] == 108
    for mode in ("time-slicing", "mps", "mps 50%"):
        assert claims[mode, "seconds of the window in which all 2 tenants worked"]["observed"] == 6
    assert claims["mps", "tenants in the daemon's list of MPS clients"]["observed"] == 2
    assert {(rate["mode"], rate["unit"]) for rate in document["rates"]} == {
        (mode, "images") for mode in ("exclusive", "time-slicing", "mps", "mps 50%")
    }
    assert all(rate["rate"] > 0 for rate in document["rates"])


def test_what_is_kept_is_a_run_with_what_the_driver_printed(finished):
    folder = kept_in(finished[1])
    trials = list(RunFolder.open(folder / "run").trials())
    assert [trial.status for trial in trials] == ["ok"] * 5
    assert json.loads((folder / "doctor.json").read_text())["modes"]
    assert json.loads((folder / "environment.json").read_text())["driver"] == "590.48.01"
    outputs = {file.name: read_capture(file.read_text()) for file in folder.glob("driver_outputs/*")}
    clients = outputs["nvidia-cuda-mps-control_get_client_list__mps.txt"]
    assert clients.command.startswith("echo get_client_list ")
    assert len(clients.output.split()) == 2
    assert len(outputs["nvidia-cuda-mps-control_get_server_list__mps-50pct.txt"].output.split()) == 1
    apps = outputs["nvidia-smi_--query-compute-apps__time-slicing.txt"]
    assert apps.command == (
        "nvidia-smi -i GPU-xxxxxxxx --query-compute-apps=gpu_uuid,pid,process_name,used_gpu_memory "
        "--format=csv,nounits"
    )
    assert len(apps.output.splitlines()) == 3


def test_nothing_kept_tells_whose_machine_it_was(finished):
    kept = kept_in(finished[1])
    texts = {file: file.read_text() for file in kept.rglob("*") if file.is_file() and file.suffix != ".parquet"}
    (uuid,) = (folder.name for folder in finished[1].glob("s/GPU-*"))
    marks = [uuid, str(finished[1]), str(ROOT), platform.node(), f"{Path.home()}/"]
    told = [(file.name, mark) for file, text in texts.items() for mark in marks if mark in text]
    assert not told
    assert any("GPU-xxxxxxxx" in text for text in texts.values())
    assert not list(kept.rglob("job-*.log"))


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("GPU 0: H100 (UUID: GPU-0123abcd-0123-0123-0123-0123456789ab)", "GPU 0: H100 (UUID: GPU-xxxxxxxx)"),
        ("  Serial Number                 : 1650522000123", "  Serial Number                 : masked"),
        ("  Serial Number                 : N/A", "  Serial Number                 : N/A"),
        ("| 0 N/A 4242 M+C ...me/ada/venv/bin/python3  512MiB |", "| 0 N/A 4242 M+C .../python3  512MiB |"),
        ('"interpreter": "/opt/ada/bin/python3"', '"interpreter": ".../python3"'),
        ("/tmp/nvidia-mps is there, 25 MB/s, N/A", "/tmp/nvidia-mps is there, 25 MB/s, N/A"),
    ],
)  # fmt: skip
def test_masks(text, without):
    assert masked(text) == without


def test_a_daemon_without_our_clients_fails_the_claim(place, selftest, kept):
    place.faults({"tool": MPS, "match": "get_client_list", "action": "lie", "text": ""})
    done = selftest()
    assert (done.returncode, done.stderr) == (1, "")
    not_held = failed(kept())
    assert not_held["mps", "tenants in the daemon's list of MPS clients"] == 0
    assert "mode not proven" in not_held["mps 50%", "the trial's status"]
    assert {mode for mode, _ in not_held} == {"mps", "mps 50%"}
    assert "claims do not hold." in done.stdout


def test_a_mode_that_cannot_be_entered_is_missing_and_said_so(place, selftest, kept):
    place.faults({"tool": MPS, "match": "-d", "action": "fail", "rc": 1, "text": "no\n"})
    assert selftest().returncode == 1
    assert failed(kept())["mps", "the trial's status"].startswith("invalid: ")


def test_when_time_is_up_the_device_is_put_back_and_what_is_there_is_kept(place, selftest, kept):
    selftest(output=place.folder / "first")
    before = place.driver_state()
    place.faults({"tool": MPS, "match": "lspart", "action": "hang", "seconds": 5})
    done = selftest("--within", "2")
    assert done.returncode == 1
    assert "not measured" in failed(kept()).values()
    assert "Time was up" in (kept() / "summary.md").read_text()
    assert place.driver_state() == before


def test_ctrl_c_keeps_what_is_there(place, kept, until):
    place.faults({"tool": MPS, "match": "lspart", "action": "hang", "seconds": 1, "times": 1})
    arguments = ("--device", "simulated", "--output", place.folder / "kept", "--quiet")
    process = place.begin("selftest", *arguments, program="-m bench")
    until(lambda: '"times": 0' in place.fault_file.read_text(), process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")
    assert "not measured" in failed(kept()).values()


@pytest.mark.parametrize(
    ("device", "change", "said"),
    [
        ("simulated:a100-80gb", ("-c", "EXCLUSIVE_PROCESS"), "compute mode Exclusive_Process"),
        ("simulated:h100-80gb", ("-mig", "1"), "MIG Enabled"),
    ],
)
def test_a_device_that_would_have_to_be_switched_is_refused(place, selftest, device, change, said):
    place.run("mode", "status", "--device", device, program="-m bench")
    nvidia_smi(place, *change)
    before = place.driver_state()
    refused = selftest(device=device)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert said in refused.stderr
    assert not (place.folder / "kept").exists()
    assert place.driver_state() == before


@pytest.mark.parametrize("output", [REFERENCE_FOLDER, REFERENCE_FOLDER / "below"])
def test_simulated_answers_are_not_kept_among_measured_ones(selftest, output):
    before = sorted(REFERENCE_FOLDER.iterdir())
    refused = selftest(output=output)
    assert refused.returncode == 2
    assert "--output DIR" in refused.stderr
    assert sorted(REFERENCE_FOLDER.iterdir()) == before


def test_a_folder_that_cannot_be_written_is_told(place, selftest):
    (place.folder / "file").write_text("")
    done = selftest(output=place.folder / "file")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--output DIR" in done.stderr


@pytest.mark.workloads
def test_on_the_hosts_cores(selftest, kept):
    missing = [name for name in ("torch", "torchvision") if importlib.util.find_spec(name) is None]
    if missing:
        (pytest.fail if os.environ.get("BENCH_REQUIRE_WORKLOADS") else pytest.skip)(f"{missing} not installed")
    done = selftest(device="cpu", within_s=600)
    assert done.returncode == 0, done.stdout + done.stderr
    document = evidence(kept())
    assert {rate["mode"] for rate in document["rates"]} == {"exclusive", "cpu-shared"}
    assert not document["simulated"]
    assert not (kept() / "driver_outputs").exists()
