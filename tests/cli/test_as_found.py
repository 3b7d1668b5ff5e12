"""A whole run in what a cluster gave, by a user without rights: nothing is changed, and the label is proven."""

import json
import os
import signal
import subprocess

import pytest

from bench.cli import main
from bench.simulator.driver.state import DriverState, updated
from bench.simulator.machine import simulated_device

PIPE = "CUDA_MPS_PIPE_DIRECTORY"
CHANGES = {
    "nvidia-smi": ("-mig", "-c ", "-cgi", "-cci", "-dci", "-dgi", "-pm", "-lgc", "-rgc", "-lmc", "-rmc", "-pl",
                   "-r ", "set-timeslice"),
    "nvidia-cuda-mps-control": ("-d", "quit", "set_", "start_server", "shutdown_server", "terminate_client"),
}  # fmt: skip
TRAPS = [
    {"tool": tool, "match": match, "action": "fail", "rc": 4, "text": "a change\n", "times": 99}
    for tool, matches in CHANGES.items()
    for match in matches
]


ROLES = [("solo", "ok"), ("solo", "ok"), ("mix", "ok")] * 2  # in the order of their ids


class Cluster:
    """Gives a user a part of a simulated GPU, and starts runs as that user."""

    def __init__(self, place, monkeypatch):
        self.place, self.monkeypatch = place, monkeypatch
        for name in (PIPE, "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
            monkeypatch.delenv(name, raising=False)
        for name, value in place.environment().items():
            monkeypatch.setenv(name, value)
        self.device = simulated_device("a100-80gb")
        self.state_file = self.device.state_folder / "driver" / "state.txt"
        self.pipe = place.folder / "theirs"

    def call(self, tool, *arguments, **environment):
        command = [self.state_file.parent / "bin" / tool, *arguments]
        subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True)

    def cut(self):
        """Cut the GPU in two and return the UUIDs."""
        self.call("nvidia-smi", "-mig", "1")
        self.call("nvidia-smi", "mig", "-cgi", "9,9", "-C")
        return [gi.compute[0].uuid for gi in DriverState.load(self.state_file).instances]

    def start_daemon(self, device):
        self.call("nvidia-cuda-mps-control", "-d", **{PIPE: str(self.pipe), "CUDA_VISIBLE_DEVICES": device})

    def facts(self):
        """The driver's state, less what every process changes: the counter of pids, a daemon's running server."""
        facts = self.state_file.read_text().splitlines()
        return [" ".join(fact.split(" ")[:5]) for fact in facts if not fact.startswith("next_pid ")]

    def run(self, *faults, **environment):
        """Run the smoke plan; return exit code and records. Whatever would change the device is a trap."""
        self.place.faults(*TRAPS, *faults)
        with updated(self.state_file) as state:
            state.privileged = False
        for name, value in environment.items():
            self.monkeypatch.setenv(name, value)
        code = main(["run", "--mode", "as-found", "--plan", "smoke", "--device", "simulated:a100-80gb", "--quiet",
                     "--seed", "3", "--results", str(self.place.results)])  # fmt: skip
        assert json.loads(self.place.fault_file.read_text())[: len(TRAPS)] == TRAPS  # none was stepped on
        files = sorted(self.place.run_folder.glob("trials/[!.]*/trial.json"))
        return code, [json.loads(file.read_text()) for file in files]


@pytest.fixture
def cluster(place, monkeypatch):
    handler = signal.getsignal(signal.SIGTERM)
    yield Cluster(place, monkeypatch)
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize("what", ["plain", "daemon", "instance", "instance and daemon"])
def test_a_run_in_what_was_given(cluster, what):
    given, environment = cluster.device.uuid, {}
    if "instance" in what:
        given, _ = cluster.cut()
        environment["CUDA_VISIBLE_DEVICES"] = given
    if "daemon" in what:
        cluster.start_daemon(given)
        environment[PIPE] = str(cluster.pipe)
    before = [fact.replace("privileged True", "privileged False") for fact in cluster.facts()]
    code, records = cluster.run(**environment)
    assert code == 0
    assert cluster.facts() == before
    assert [(record["role"], record["status"]) for record in records] == ROLES
    for record in records:
        assert {tenant["identity"]["device_uuid"] for tenant in record["tenants"]} == {given}
        assert record["flags"] == (["board_shared_with_others"] if "instance" in what else [])
        found = record["device"]["found"]
        assert {each["observed"] for each in record["evidence"] if each["claim"].startswith("what was found")} == {
            found
        }
        assert ("with an MPS daemon" in found) == ("daemon" in what)
    report = (cluster.place.run_folder / "report" / "report.md").read_text()
    assert f"Jobs ran in {records[0]['device']['found']}" in report
    assert "as-found finishes" in report


def test_a_daemon_that_serves_somebody_elses_instance_gives_no_number(cluster, capsys):
    """The daemon answers where the environment says, but CUDA takes time slices beside it without a word."""
    mine, theirs = cluster.cut()
    cluster.start_daemon(theirs)
    code, records = cluster.run(CUDA_VISIBLE_DEVICES=mine, **{PIPE: str(cluster.pipe)})
    assert code == 1
    assert {record["status"] for record in records} == {"invalid"}
    assert all("is a client of the MPS server that was found" in record["reason"] for record in records)


@pytest.mark.parametrize("answered", [12, 10])  # questions: it goes before the second trial starts, or on the way
def test_a_daemon_that_dies_on_the_way_makes_trials_invalid_and_ends_the_run(cluster, capsys, answered):
    cluster.start_daemon(cluster.device.uuid)
    asked = {"tool": "nvidia-cuda-mps-control", "match": "get_server_list"}
    alive = {**asked, "action": "hang", "seconds": 0, "times": answered}
    dead = {**asked, "action": "fail", "rc": 1, "text": "Cannot find MPS control daemon process\n"}
    code, records = cluster.run(alive, dead, **{PIPE: str(cluster.pipe)})
    assert code == 1
    statuses = [record["status"] for record in records]
    assert len(statuses) == 3  # of the first block; the second is for --resume
    assert "invalid" in statuses
    assert set(statuses) <= {"ok", "invalid"}
    assert all("what was found" in record["reason"] for record in records if record["status"] == "invalid")
    told = capsys.readouterr().err
    assert "is no longer as it was found: the whole GPU" in told
    assert "run_experiments.py --resume" in told


def test_a_run_does_not_go_on_in_something_else(cluster, capsys):
    mine, theirs = cluster.cut()
    cluster.run(CUDA_VISIBLE_DEVICES=mine)
    cluster.monkeypatch.setenv("CUDA_VISIBLE_DEVICES", theirs)
    assert main(["run", "--resume", str(cluster.place.run_folder), "--quiet"]) == 2
    assert "this run began with found = 'a MIG instance 3g.40gb" in capsys.readouterr().err
