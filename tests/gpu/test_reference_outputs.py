"""What a driver printed in a selftest is a fixture: every output under results/reference parses as the samples do.

Where no selftest has been kept there, the reader is tested on what the stand-in driver prints in one.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.gpu.captures import Capture, read_capture
from bench.gpu.failures import refusal
from bench.gpu.mig_tables import parse_mig_devices, parse_mig_instances, parse_mig_placements, parse_mig_profiles
from bench.gpu.mps import MpsControl
from bench.gpu.smi import parse_compute_apps, parse_valid_fields, parse_versions
from bench.gpu.table import parse_table
from bench.gpu.tool import Answer
from bench.telemetry.parse import parse_stream

ROOT = Path(__file__).parents[2]
MEASURED = sorted((ROOT / "results" / "reference").glob("selftest-*/driver_outputs"))
FOR_PEOPLE = ("nvidia-smi_-q", "nvidia-smi_compute-policy_--list", "nvidia-cuda-mps-control_ps",
              "nvidia-cuda-mps-control_lspart", "mps_control.log", "mps_server.log")  # fmt: skip


@pytest.fixture(scope="module")
def stand_in():
    """Keep a selftest of the stand-in driver, for as long as the tests of this file last."""
    with tempfile.TemporaryDirectory(
        prefix="b", dir="/tmp"
    ) as folder:  # short: an MPS socket must fit in 107 bytes
        command = [sys.executable, "-m", "bench", "selftest", "--device", "simulated", "--quiet"]
        environment = {**os.environ, "BENCH_STATE_DIR": f"{folder}/s"}
        subprocess.run([*command, "--output", f"{folder}/o"], cwd=ROOT, env=environment, check=True, timeout=60,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        (outputs,) = Path(folder).glob("o/selftest-*/driver_outputs")
        yield outputs


@pytest.fixture(params=MEASURED or [None], ids=lambda path: path.parent.name if path else "stand-in")
def outputs(request):
    """The outputs of one selftest, by name: `nvidia-smi_-L__idle.txt`."""
    folder = request.param or request.getfixturevalue("stand_in")
    return {file.name: read_capture(file.read_text()) for file in sorted(folder.iterdir())}


def told(outputs, command):
    """The answers to a command, in whatever state, that the tool could give."""
    found = {name: answer for name, answer in outputs.items() if name.rpartition("__")[0] == command}
    return {name: answer.output for name, answer in found.items() if not answer.status}


def rows(text):
    table = parse_table(text)
    assert not table.remarks
    return table.rows


def test_the_versions_are_told_by_one_of_two_tables(outputs):
    texts = [*told(outputs, "nvidia-smi_--version").values(), *told(outputs, "nvidia-smi").values()]
    assert texts
    assert all(parse_versions(text).driver and parse_versions(text).cuda for text in texts)


def test_the_gpu_answers_what_is_asked_and_sampled(outputs):
    (text,) = told(outputs, "nvidia-smi_--query-gpu").values()
    (row,) = rows(text)
    assert row["compute_mode"] == "Default"
    telemetry = parse_stream(list(enumerate(text.splitlines())))
    assert telemetry.remarks == ()
    assert telemetry.samples["power_w"].notna().all()
    assert telemetry.samples["memory_used_mib"].notna().all()


def test_every_field_that_was_asked_for_is_in_the_help(outputs):
    (text,) = told(outputs, "nvidia-smi_--help-query-gpu").values()
    asked = re.search(r"--query-gpu=(\S+)", outputs["nvidia-smi_--query-gpu__idle.txt"].command)[1].split(",")
    assert set(asked) <= parse_valid_fields(text)


def test_who_computes(outputs):
    found = told(outputs, "nvidia-smi_--query-compute-apps")
    assert "nvidia-smi_--query-compute-apps__idle.txt" in found
    for text in found.values():
        assert len(parse_compute_apps(text)) == len(rows(text)) == len(text.strip().splitlines()) - 1


def test_the_clocks_that_can_be_set(outputs):
    for text in told(outputs, "nvidia-smi_--query-supported-clocks").values():
        assert all(isinstance(value, int) for row in rows(text) for value in row.values())


def test_mig_tables(outputs):
    for text in told(outputs, "nvidia-smi_-L").values():
        assert "(UUID: GPU-xxxxxxxx)" in text
        assert parse_mig_devices(text) == []
    for text in told(outputs, "nvidia-smi_mig_-lgip").values():
        assert len(parse_mig_profiles(text)) == text.count(" MIG ") > 0
    for text in told(outputs, "nvidia-smi_mig_-lgipp").values():
        assert len(parse_mig_placements(text)) == len(text.strip().splitlines())
    for text in told(outputs, "nvidia-smi_mig_-lgi").values():
        assert parse_mig_instances(text) == []  # a selftest makes none


@pytest.mark.parametrize(
    ("question", "method"),
    [
        ("get_default_active_thread_percentage", lambda control: [control.default_active_thread_percentage()]),
        ("get_server_list", lambda control: control.server_list()),
        ("get_client_list", lambda control: control.client_list(1)),
    ],
)
def test_the_daemon_is_understood(outputs, question, method, tool, tmp_path):
    found = told(outputs, f"nvidia-cuda-mps-control_{question}")
    assert {name.partition("__")[2] for name in found} <= {"mps.txt", "mps-50pct.txt"}  # a mode may have failed
    for text in found.values():
        (tmp_path / "said").write_text(text)
        answers = method(MpsControl(tool("nvidia-cuda-mps-control", f"cat '{tmp_path}/said'"), tmp_path))
        assert len(answers) == len(text.split())


def test_what_the_tool_refused_becomes_an_error_that_names_the_command(outputs):
    for name, answer in outputs.items():
        if answer.status and name.startswith("nvidia-smi"):
            error = refusal(answer)
            assert isinstance(error, BenchError)
            assert answer.command in str(error)


def test_every_output_is_read_or_meant_for_people(outputs):
    read = {
        *(
            "nvidia-smi",
            "nvidia-smi_-L",
            "nvidia-smi_--version",
            "nvidia-smi_--query-gpu",
            "nvidia-smi_--help-query-gpu",
        ),
        *("nvidia-smi_--query-compute-apps", "nvidia-smi_--query-supported-clocks"),
        *(f"nvidia-smi_mig_{listing}" for listing in ("-lgip", "-lgipp", "-lgi")),
        *(f"nvidia-cuda-mps-control_get_{what}" for what in ("server_list", "client_list")),
        "nvidia-cuda-mps-control_get_default_active_thread_percentage",
    }
    assert {name.rpartition("__")[0] for name in outputs} <= {*read, *FOR_PEOPLE}


def test_a_capture_keeps_both_streams_apart():
    answer = Answer("nvidia-smi -L", 9, "one\n", "two\nthree\n")
    assert read_capture(Capture("name", answer).text) == answer


def test_a_file_that_is_no_capture_is_told():
    with pytest.raises(ValueError, match="begins with 'Sun Nov 22'"):
        read_capture("Sun Nov 22\n")
