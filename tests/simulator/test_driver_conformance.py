"""The stand-in tools print what the genuine ones printed, in the same state: ids, times and versions masked.

The genuine outputs are in `shared/reference/nvidia_samples` beside the repository, or under $BENCH_SHARED. Of
the shortest the repository has its own copies, so that a bare clone tests the rules that they pin. What is
compared is listed in `conformance.yaml`; what came of it in `docs/driver_conformance.md`, written anew by

    BENCH_WRITE_CONFORMANCE=1 python -m pytest tests/simulator/test_driver_conformance.py
"""

import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.simulator.driver import mps_control, nvidia_smi
from bench.simulator.driver.query import canonical_gpu_field
from bench.simulator.driver.state import FrozenColumn, create, updated

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = Path(os.environ.get("BENCH_SHARED", ROOT.parent / "shared")) / "reference" / "nvidia_samples"
EXCERPTS = ROOT / "tests" / "fixtures" / "nvidia" / "driver"
PAGE = ROOT / "docs" / "driver_conformance.md"
GPU = "GPU-9e4aeb94-01c0-5173-4811-4ca60f77b3a9"
LISTED = yaml.safe_load(Path(__file__).with_name("conformance.yaml").read_text(encoding="utf-8"))
MPS = {
    "nvidia-cuda-mps-control__error_no-daemon.txt": (["ps"], 1),
    "nvidia-cuda-mps-control_-d__error_already-running.txt": (["-d", "-d"], 1),
    "nvidia-cuda-mps-control_terminate_client.txt": (["-d", "terminate_client SERVER 9743"], 0),
    "nvidia-cuda-mps-control_ps.txt": (["-d", "ps"], 0),
    "nvidia-cuda-mps-control_sm_partition_add.txt": (["-d -S", f"sm_partition add {GPU} 7"], 0),
    "nvidia-cuda-mps-control_lspart.txt": (["-d -S", f"sm_partition add {GPU} 7", "lspart"], 0),
}
NUMBERS_MASKED = {"nvidia-cuda-mps-control_lspart.txt"}  # of a board with 10 chunks, which is not modelled


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
    text = re.sub(r"[0-9A-F]{4,8}:[0-9A-F]{2}:[0-9A-F]{2}\.0", "BUS", text)
    text = re.sub(r", /\S+/(?=\w+, )", ", ./", text)  # where somebody kept the program that ran
    return text.replace("SIMULATED ", "").rstrip()


def numbers_masked(text: str) -> str:
    return re.sub(r"\d+", "N", re.sub(r"0x[0-9A-F]+", "MASK", masked(text)))


def words(text: str) -> str:
    text = re.sub(r"\+-+\+|\|=+\||NVIDIA ", " ", masked(text)).replace("|", " | ")
    return " ".join(text.split())


def lines(text: str) -> set[str]:
    return set(masked(text).splitlines())


def names(text: str) -> set[str]:
    """First name on each line of quoted names of `--help-query-gpu`."""
    return {line.split('"')[1] for line in text.splitlines() if line.startswith('"')}


def columns(text: str) -> dict[str, str]:
    """Cells of a one-row table by header, numbers and the versions of the firmware masked."""
    header, row = text.splitlines()
    cells = dict(zip(header.split(", "), row.split(", "), strict=True)) | {"vbios_version": ""}
    return {name: numbers_masked(cells[name]) for name in cells if canonical_gpu_field(name.split(" [")[0])}


def numbered_lines(text: str) -> set[str]:
    return set(numbers_masked(text).splitlines())


ALIKE: dict[str, Callable[[str, str], bool]] = {
    "exact": lambda printed, wanted: masked(printed) == masked(wanted),
    "numbers": lambda printed, wanted: numbers_masked(printed) == numbers_masked(wanted),
    "words": lambda printed, wanted: words(printed) == words(wanted),
    "lines": lambda printed, wanted: lines(printed) <= lines(wanted),
    "partial": lambda printed, wanted: lines(wanted) <= lines(printed),
    "partial_numbers": lambda printed, wanted: numbered_lines(printed) <= numbered_lines(wanted),
    "names": lambda printed, wanted: names(printed) <= names(wanted),
    "columns": lambda printed, wanted: columns(printed) == columns(wanted),
}


def fields_of(sample: str) -> str:
    """Return the fields of a genuine table that the stand-in has; without a header, by its sibling's."""
    header = genuine(sample.replace("_noheader_nounits", "")).splitlines()[0]
    return ",".join(name for cell in header.split(", ") if canonical_gpu_field(name := cell.split(" [")[0]))


def ask(command: str, state_file: Path) -> tuple[str, int]:
    with redirect_stdout(io.StringIO()) as said:
        code = nvidia_smi.main(command.split(), str(state_file))
    return said.getvalue(), code


def put_into_state(case: dict[str, Any], state_file: Path) -> None:
    create(state_file, case["board"], GPU)
    for command in case.get("first", []):
        assert ask(command, state_file)[1] == 0
    with updated(state_file) as state:
        vars(state).update(case.get("state", {}))
        state.frozen = [FrozenColumn(*each) for each in case.get("frozen", {}).items()]
        devices = [ci.uuid for gi in state.instances for ci in gi.compute] or [GPU]
        for pid, (name, memory_mib) in enumerate(case.get("clients", []), 70):
            state.add_client(pid, name, devices[0], memory_mib)


def print_as(case: dict[str, Any], state_file: Path) -> tuple[str, int]:
    put_into_state(case, state_file)
    return ask(
        case["run"].replace("FIELDS", fields_of(case["sample"]) if "FIELDS" in case["run"] else ""), state_file
    )


@pytest.fixture
def state_file(tmp_path: Path) -> Path:
    return tmp_path / "state.txt"


HERE = [case for case in LISTED["compared"] if path_of(case["sample"])]


def test_a_bare_clone_still_has_excerpts() -> None:
    assert sum((EXCERPTS / case["sample"]).exists() for case in LISTED["compared"]) >= 10


@pytest.mark.parametrize("case", HERE, ids=lambda case: case["sample"])
def test_prints_what_the_driver_printed(case: dict[str, Any], state_file: Path) -> None:
    wanted = genuine(case["sample"])
    printed, code = print_as(case, state_file)
    compare = case.get("compare", "exact")
    assert code == case.get("rc", 0)
    if compare == "exact":
        assert masked(printed) == masked(wanted)
    assert ALIKE[compare](printed, wanted), printed


@pytest.mark.parametrize("case", LISTED["compared"], ids=lambda case: case["sample"])
def test_a_difference_is_explained(case: dict[str, Any]) -> None:
    assert (case.get("compare", "exact") in {"exact", "numbers"}) == ("why" not in case)


@pytest.mark.parametrize("sample", MPS)
def test_mps_front_end_prints_what_the_real_one_printed(sample, state_file, tmp_path, monkeypatch, capsys):
    commands, code = MPS[sample]
    pipe = str(tmp_path / "pipe")
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", pipe)
    create(state_file, "h100-80gb", GPU)
    for command in commands:
        with updated(state_file) as state:
            daemon = state.daemon_at(pipe)
            if daemon and not daemon.static and not state.clients:
                state.add_client(9741, "./nbody", GPU, 100, mps_pipe_directory=pipe)
                state.add_client(9743, "./matrixMul", GPU, 100, mps_pipe_directory=pipe)
                daemon = state.daemon_at(pipe)
        capsys.readouterr()
        said = command.replace("SERVER", str(daemon.server_pid) if daemon else "")
        monkeypatch.setattr(sys, "stdin", io.StringIO(said))
        ended = mps_control.main(said.split() if said.startswith("-d") else [], str(state_file))

    numbers = r"\b\d+\b" if sample in NUMBERS_MASKED else r"\d{4,}"
    printed, wanted = (
        re.sub(r"GPU-[0-9a-f-]+", "GPU", text).rstrip() for text in (capsys.readouterr().out, genuine(sample))
    )
    assert re.sub(numbers, "N", printed) == re.sub(numbers, "N", wanted)
    assert ended == code


def sample_names() -> list[str]:
    every = (str(path.relative_to(SAMPLES)) for path in SAMPLES.rglob("*") if path.is_file())
    return sorted(name for name in every if name not in {"MANIFEST.tsv", "README.md"})


def table() -> Iterator[tuple[str, str, str]]:
    """Yield sample, same or differs, and why, for every output of a command that is called here."""
    compared = {case["sample"]: case for case in LISTED["compared"]}
    for name in sample_names():
        if name in MPS or name in compared:
            compare = compared.get(name, {}).get("compare", "exact")
            masks = compare == "numbers" or name in NUMBERS_MASKED
            why = compared.get(name, {}).get("why", "numbers masked" if masks else "")
            yield name, "differs" if "why" in compared.get(name, {}) else "same", why
        elif why := why_of(name, "explained"):
            yield name, "differs", why


def why_of(name: str, section: str) -> str | None:
    return next((why for pattern, why in LISTED[section].items() if fnmatchcase(name, pattern)), None)


def page() -> str:
    """Return docs/driver_conformance.md as it should be."""
    rows = list(table())
    shown = {name for name, *_ in rows}
    same = sum(verdict == "same" for _, verdict, _ in rows)
    return "\n".join([
        "# How true the stand-in driver is",
        "",
        "Each genuine output of a command that our helpers and parsers call, and whether the stand-in prints the",
        "same in the same state, with ids, times and versions masked. The samples, with their sources, are kept",
        "beside the repository; `tests/simulator/conformance.yaml` says how each is compared. This page is",
        "generated and checked by `tests/simulator/test_driver_conformance.py`.",
        "",
        f"{same} of {len(rows)} are the same; the others say why they are not.",
        "",
        "| sample | | why |",
        "|---|---|---|",
        *(f"| `{name}` | {verdict} | {why} |" for name, verdict, why in rows),
        "",
        "## Never called",
        "",
        f"{len(sample_names()) - len(shown)} samples are of commands that nothing here calls.",
        "",
        "| samples | why |",
        "|---|---|",
        *(f"| `{pattern}` | {why} |" for pattern, why in LISTED["never_called"].items()),
        "",
    ])  # fmt: skip


@pytest.mark.skipif(not SAMPLES.exists(), reason="the genuine samples are not here; set BENCH_SHARED")
def test_every_sample_is_accounted_for_once() -> None:
    compared = {case["sample"] for case in LISTED["compared"]} | set(MPS)
    assert compared <= set(sample_names())
    strays = [
        name for name in sample_names()
        if (name in {row[0] for row in table()}) + bool(why_of(name, "never_called")) != 1
    ]  # fmt: skip
    assert strays == []


@pytest.mark.skipif(not SAMPLES.exists(), reason="the genuine samples are not here; set BENCH_SHARED")
def test_the_page_says_what_was_found() -> None:
    if os.environ.get("BENCH_WRITE_CONFORMANCE"):
        PAGE.write_text(page(), encoding="utf-8")
    regenerate = "BENCH_WRITE_CONFORMANCE=1 python -m pytest tests/simulator/test_driver_conformance.py"
    assert PAGE.exists() and PAGE.read_text(encoding="utf-8") == page(), f"write it anew: {regenerate}"
