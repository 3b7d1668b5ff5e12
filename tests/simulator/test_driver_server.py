"""One process that answers for the stand-in tools: it says what they say, and ends with its starter."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bench.errors import DeviceError
from bench.gpu.device import Device
from bench.gpu.mps import MpsControl
from bench.gpu.smi import NvidiaSmi
from bench.gpu.tool import SERVER_VARIABLE, ask
from bench.simulator import machine

QUESTIONS = (
    ["nvidia-smi", "--query-gpu=name,compute_mode", "--format=csv,nounits"],
    ["nvidia-smi", "-L"],
    ["nvidia-smi", "mig", "-lgip"],
    ["nvidia-smi", "--nonsense"],
    ["nvidia-cuda-mps-control", "--nonsense"],
)


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    monkeypatch.setenv("BENCH_STATE_DIR", str(tmp_path / "state"))
    return machine.simulated_device("a100-80gb")


def test_it_says_what_the_tools_say(device: Device) -> None:
    alone = [ask(command, device.tool_environment, 20) for command in QUESTIONS]
    with machine.served(device) as served:
        assert [ask(command, served.tool_environment, 20) for command in QUESTIONS] == alone
    assert {answer.status for answer in alone} == {0, 1, 2}


def test_each_call_has_an_environment_and_a_standard_input_of_its_own(device: Device, tmp_path: Path) -> None:
    with machine.served(device) as served:
        own = {**served.tool_environment, "CUDA_MPS_PIPE_DIRECTORY": str(tmp_path / "pipe")}
        assert ask(["nvidia-cuda-mps-control", "-d"], own, 20).status == 0
        assert MpsControl(served.tool_environment, tmp_path / "pipe").default_active_thread_percentage() == 100
        assert not MpsControl(served.tool_environment, tmp_path / "elsewhere").is_alive()


def test_it_fails_hangs_and_crashes_as_a_tool_does(device: Device, tmp_path: Path) -> None:
    def broken(**rule: object) -> dict[str, str]:
        faults = tmp_path / "faults.json"
        faults.write_text(json.dumps([{"tool": "nvidia-smi", "match": "", **rule}]))
        return {**served.tool_environment, "BENCH_SIM_FAULTS": str(faults)}

    with machine.served(device) as served:
        failed = ask(["nvidia-smi", "-L"], broken(action="fail", rc=9, text="no\n"), 20)
        assert (failed.status, failed.output) == (9, "no\n")
        with pytest.raises(DeviceError, match=r"did not answer within 0\.2 s"):
            ask(["nvidia-smi", "-L"], broken(action="hang", seconds=600), 0.2)
        crashed = ask(["nvidia-smi", "-L"], broken(action="fail"), 20)
        assert crashed.status == 1  # a rule without a status ends the call, and not the server
        assert NvidiaSmi(served.tool_environment).gpus()[0].uuid == device.uuid


def test_a_caller_that_hangs_up_is_no_news(
    device: Device, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text(json.dumps([{"tool": "nvidia-smi", "match": "", "action": "hang", "seconds": 0.5}]))
    with machine.served(device) as served, socket.socket(socket.AF_UNIX) as line:
        own = {**served.tool_environment, "BENCH_SIM_FAULTS": str(faults)}
        line.connect(f"\0{own[SERVER_VARIABLE]}")
        line.sendall(
            json.dumps({"tool": "nvidia-smi", "arguments": ["-L"], "environment": own, "said": ""}).encode()
        )
        line.shutdown(socket.SHUT_WR)
        watched = os.pidfd_open(int(line.recv(100)))
        line.close()
        ended, _, _ = select.select([watched], [], [], 20)
        os.close(watched)
        assert ended
        assert ask(["nvidia-smi", "-L"], served.tool_environment, 20).status == 0
    assert capfd.readouterr().err == ""


def test_it_ends_with_the_process_that_started_it(device: Device, tmp_path: Path) -> None:
    program = (
        "from bench.simulator import machine\nimport time\n"
        "with machine.served(machine.simulated_device('a100-80gb')) as device:\n"
        f"    print(device.environment[{SERVER_VARIABLE!r}], flush=True)\n    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        name = starter.stdout.readline().strip()
        served = {**device.tool_environment, SERVER_VARIABLE: name}
        assert ask(["nvidia-smi", "-L"], served, 20).status == 0
        (server,) = Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text().split()
        watched = os.pidfd_open(int(server))
        os.kill(starter.pid, signal.SIGKILL)
    ended, _, _ = select.select([watched], [], [], 20)
    os.close(watched)
    assert ended
