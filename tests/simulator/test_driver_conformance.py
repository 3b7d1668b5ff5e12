"""The stand-in tools print what the genuine ones printed, in the same state: ids, times and versions masked.

The genuine outputs are in `shared/reference/nvidia_samples` beside the repository, or under $BENCH_SHARED. Of
the shortest the repository has its own copies, so that a bare clone tests the rules that they pin.
"""

import io
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from bench.simulator.driver import mps_control, nvidia_smi
from bench.simulator.driver.state import create, updated

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = Path(os.environ.get("BENCH_SHARED", ROOT.parent / "shared")) / "reference" / "nvidia_samples"
EXCERPTS = ROOT / "tests" / "fixtures" / "nvidia" / "driver"
GPU = "GPU-9e4aeb94-01c0-5173-4811-4ca60f77b3a9"
MIXED = ["-mig 1", "mig -cgi 5,14,19", "mig -gi 9 -cci", "mig -gi 3 -cci 0,0", "mig -gi 2 -cci"]
SEVEN = ["-mig 1", "mig -cgi 19,19,19,19,19,19,19 -C"]


class Case(NamedTuple):
    sample: str
    model: str
    before: list[str]
    command: str
    code: int = 0
    state: tuple[tuple[str, object], ...] = ()


CASES = [
    Case("nvidia-smi_mig_-lgip__a100-40gb_580_empty.txt", "a100-40gb", ["-mig 1"], "mig -lgip"),
    Case("nvidia-smi_mig_-lgip__a100-40gb_580_after-4g.txt", "a100-40gb", ["-mig 1", "mig -cgi 5"], "mig -lgip"),
    Case(
        "nvidia-smi_mig_-lgip__a100-40gb_580_after-4g-2g.txt",
        "a100-40gb",
        ["-mig 1", "mig -cgi 5,14"],
        "mig -lgip",
    ),
    Case("nvidia-smi_mig_-lgip__a100-40gb_580_full.txt", "a100-40gb", MIXED, "mig -lgip"),
    Case("nvidia-smi_mig_-lgi__a100-40gb_580_mixed.txt", "a100-40gb", MIXED, "mig -lgi"),
    Case("nvidia-smi_mig_-lci__a100-40gb_580_mixed.txt", "a100-40gb", MIXED, "mig -lci"),
    Case("nvidia-smi_-L__a100-40gb_580_mixed-ci.txt", "a100-40gb", MIXED, "-L"),
    Case("nvidia-smi_mig_-cgi_4g.20gb__a100-40gb_580.txt", "a100-40gb", ["-mig 1"], "mig -i 0 -cgi 4g.20gb"),
    Case("nvidia-smi_mig_-cgi_9_3g.20gb_-C__a100-40gb.txt", "a100-40gb", ["-mig 1"], "mig -cgi 9,3g.20gb -C"),
    Case(
        "nvidia-smi_mig_-cgi_19_19_14_9__error_insufficient-resources.txt",
        "a100-40gb",
        ["-mig 1"],
        "mig -cgi 19,19,14,9",
        23,
    ),
    Case(
        "nvidia-smi_mig_-cci_1c.2g.10gb_-gi_3__a100-40gb_580.txt",
        "a100-40gb",
        ["-mig 1", "mig -cgi 5,14"],
        "mig -i 0 -gi 3 -cci 1c.2g.10gb",
    ),
    Case(
        "nvidia-smi_mig_-dgi__error_in-use_rtxpro6000_610.txt",
        "a100-40gb",
        ["-mig 1", "mig -cgi 5,14 -C"],
        "mig -dgi -gi 3",
        19,
    ),
    Case(
        "nvidia-smi_mig_-cgi__error_in-use.txt",
        "h100-80gb",
        [],
        "mig -cgi 20 -C",
        19,
        (
            ("mig_enabled", True),
            ("holder", "nv-hostengine"),
        ),
    ),
    Case("nvidia-smi_mig_-lgipp__h100-80gb.txt", "h100-80gb", ["-mig 1"], "mig -lgipp"),
    Case("nvidia-smi_mig_-cgi_7x1g.10gb_-C__h100-80gb.txt", "h100-80gb", ["-mig 1"], SEVEN[1]),
    Case("nvidia-smi_mig_-lci__h100-80gb_7x1g.10gb.txt", "h100-80gb", SEVEN, "mig -lci"),
    Case("nvidia-smi_-L__h100-80gb_7x1g.10gb.txt", "h100-80gb", SEVEN, "-L"),
    Case("nvidia-smi_-L__h100-80gb_mixed.txt", "h100-80gb", ["-mig 1", "mig -cgi 9,14,19,19 -C"], "-L"),
    Case("nvidia-smi_mig_-dci__h100-80gb_7x1g.10gb.txt", "h100-80gb", SEVEN, "mig -i 0 -dci"),
    Case("nvidia-smi_mig_-dgi__h100-80gb_7x1g.10gb.txt", "h100-80gb", [*SEVEN, "mig -dci"], "mig -i 0 -dgi"),
    Case("nvidia-smi_-mig_1__h100.txt", "h100-80gb", [], "-i 0 -mig 1"),
    Case("nvidia-smi_-mig_0__h100.txt", "h100-80gb", ["-mig 1"], "-i 0 -mig 0"),
    Case(
        "nvidia-smi_-mig_1__rtxpro6000_610_persistence-warning.txt",
        "h100-80gb",
        [],
        "-i 0 -mig 1",
        0,
        (("persistence", False),),
    ),
    Case("nvidia-smi_-mig_0__error_in-use.txt", "a100-80gb", ["-mig 1", "mig -cgi 9 -C"], "-mig 0", 19),
    Case("nvidia-smi_-mig_1__pending_in-use.txt", "a100-80gb", [], "-i 0 -mig 1", 0, (("holder", "dcgm"),)),
    Case(
        "nvidia-smi_-mig_DISABLED__pending_in-use.txt",
        "a100-80gb",
        [],
        "-mig DISABLED",
        0,
        (
            ("mig_enabled", True),
            ("mig_pending", True),
            ("holder", "nvidia-persistenced"),
        ),
    ),
    Case("nvidia-smi_-mig_1__not-supported.txt", "rtx-4090", [], "-mig 1"),
    Case("nvidia-smi_mig_-lgip__no-mig-device.txt", "rtx-4090", [], "mig -lgip", 6),
    Case("nvidia-smi_mig_-lgi__none_a30_535.txt", "a30-24gb", ["-mig 1"], "mig -lgi", 6),
    Case("nvidia-smi_mig_-lgipp__a30_535.txt", "a30-24gb", ["-mig 1"], "mig -lgipp"),
    Case("nvidia-smi_mig_-cgi_5_-C__a30_535.txt", "a30-24gb", ["-mig 1"], "mig -cgi 5 -C"),
    Case("nvidia-smi_mig_-cgi_14_-C__a30_535.txt", "a30-24gb", ["-mig 1", "mig -cgi 5"], "mig -cgi 14 -C"),
    Case("nvidia-smi_-L__a30_535_mixed.txt", "a30-24gb", ["-mig 1", "mig -cgi 5,14,14 -C"], "-L"),
    Case("nvidia-smi_-c_EXCLUSIVE_PROCESS.txt", "a100-80gb", [], "-c EXCLUSIVE_PROCESS"),
    Case("nvidia-smi_-pm_1.txt", "a100-80gb", ["-pm 0"], "-pm 1"),
    Case(
        "nvidia-smi_--query-gpu__error_invalid-field.txt",
        "a100-80gb",
        [],
        "--query-gpu=uuid,cuda_version --format=csv",
        2,
    ),
    Case(
        "nvidia-smi_--query-compute-apps__h100-80gb_590.48.01_idle.csv",
        "h100-80gb",
        [],
        "--query-compute-apps=timestamp,gpu_name,gpu_bus_id,gpu_serial,gpu_uuid,pid,process_name,used_memory "
        "--format=csv",
    ),
]


def path_of(sample: str) -> Path | None:
    """Return where the genuine output is: the samples beside the repository, or its own excerpts."""
    return next((folder / sample for folder in (SAMPLES, EXCERPTS) if (folder / sample).exists()), None)


def genuine(sample: str) -> str:
    """Return what the real tool printed."""
    path = path_of(sample)
    if path is None:
        pytest.skip(f"{sample} is not here; set BENCH_SHARED")
    return path.read_text(encoding="utf-8")


def masked(text: str) -> str:
    text = re.sub(r"(GPU|MIG)-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", r"\1-UUID", text)
    text = re.sub(r"[0-9A-F]{8}:[0-9A-F]{2}:[0-9A-F]{2}\.0", "BUS", text)
    return text.replace("SIMULATED ", "").rstrip()


def numbers_masked(text: str) -> str:
    return re.sub(r"\d+", "N", re.sub(r"0x[0-9A-F]+", "MASK", masked(text)))


@pytest.fixture
def state_file(tmp_path: Path) -> Path:
    return tmp_path / "state.txt"


def test_a_bare_clone_still_has_excerpts() -> None:
    assert sum((EXCERPTS / case.sample).exists() for case in CASES) >= 10


@pytest.mark.parametrize("case", [case for case in CASES if path_of(case.sample)], ids=lambda case: case.sample)
def test_prints_what_the_driver_printed(case: Case, state_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = genuine(case.sample)
    create(state_file, case.model, GPU)
    with updated(state_file) as state:
        vars(state).update(case.state)
    for command in case.before:
        assert nvidia_smi.main(command.split(), str(state_file)) == 0
    capsys.readouterr()

    code = nvidia_smi.main(case.command.split(), str(state_file))

    assert masked(capsys.readouterr().out) == masked(wanted)
    assert code == case.code


QUERIES = [
    ("h100-80gb_590.48.01_idle", False, False),
    ("h100-80gb_590.48.01_load", False, True),
    ("h100-80gb_mig_590.48.01_idle", True, False),
]


@pytest.mark.skipif(not SAMPLES.exists(), reason="the genuine samples are not here; set BENCH_SHARED")
@pytest.mark.parametrize("suffix", ["", "_noheader_nounits"])
@pytest.mark.parametrize(("name", "mig", "load"), QUERIES)
def test_samples_have_the_shape_of_genuine_ones(name, mig, load, suffix, state_file, capsys):
    header = genuine(f"derived/nvidia-smi_--query-gpu_BENCH__{name}.csv").splitlines()[0]
    wanted = genuine(f"derived/nvidia-smi_--query-gpu_BENCH__{name}{suffix}.csv")
    fields = re.sub(r" \[[^]]*\]", "", header).replace(" ", "")
    create(state_file, "h100-80gb", GPU)
    with updated(state_file) as state:
        state.mig_enabled = state.mig_pending = mig
        if load:
            state.add_client(77, "./gpu_burn", GPU, 15690)

    form = "csv,noheader,nounits" if suffix else "csv"
    nvidia_smi.main([f"--query-gpu={fields}", f"--format={form}"], str(state_file))

    assert numbers_masked(capsys.readouterr().out) == numbers_masked(wanted)


@pytest.mark.parametrize(
    ("sample", "commands", "code"),
    [
        ("nvidia-cuda-mps-control__error_no-daemon.txt", ["ps"], 1),
        ("nvidia-cuda-mps-control_-d__error_already-running.txt", ["-d", "-d"], 1),
        ("nvidia-cuda-mps-control_terminate_client.txt", ["-d", "terminate_client SERVER 9743"], 0),
        ("nvidia-cuda-mps-control_ps.txt", ["-d", "ps"], 0),
    ],
)
def test_mps_front_end_prints_what_the_real_one_printed(
    sample, commands, code, state_file, tmp_path, monkeypatch, capsys
):
    pipe = str(tmp_path / "pipe")
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", pipe)
    create(state_file, "a100-80gb", GPU)
    for command in commands:
        with updated(state_file) as state:
            daemon = state.daemon_at(pipe)
            if daemon and not state.clients:
                state.add_client(9741, "./nbody", GPU, 100, mps_pipe_directory=pipe)
                state.add_client(9743, "./matrixMul", GPU, 100, mps_pipe_directory=pipe)
                daemon = state.daemon_at(pipe)
        capsys.readouterr()
        said = command.replace("SERVER", str(daemon.server_pid) if daemon else "")
        monkeypatch.setattr(sys, "stdin", io.StringIO(said))
        ended = mps_control.main(["-d"] if said == "-d" else [], str(state_file))

    wanted = re.sub(r"GPU-[0-9a-f-]+", "GPU", genuine(sample)).rstrip()
    printed = re.sub(r"GPU-[0-9a-f-]+", "GPU", capsys.readouterr().out).rstrip()
    assert re.sub(r"\d{4,}", "PID", printed) == re.sub(r"\d{4,}", "PID", wanted)
    assert ended == code
