"""Every genuine output that this tool can meet parses; those that it never asks for are named, and why."""

import csv
import os
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from bench.errors import SetupError
from bench.gpu.failures import refusal
from bench.gpu.mig_tables import (
    parse_mig_devices,
    parse_mig_instances,
    parse_mig_placements,
    parse_mig_profiles,
)
from bench.gpu.smi import parse_compute_apps, parse_valid_fields
from bench.gpu.table import Column, parse_header, parse_table
from bench.gpu.tool import Answer
from bench.gpu.values import Absent
from bench.telemetry.parse import SAMPLED_FIELDS

ROOT = Path(__file__).parents[2]
SAMPLES = Path(os.environ.get("BENCH_SHARED", ROOT.parent / "shared")) / "reference" / "nvidia_samples"
FILES = sorted(SAMPLES.rglob("nvidia*.*")) if SAMPLES.is_dir() else []


def named(pattern: str) -> list[Path]:
    return [path for path in FILES if fnmatch(path.name, pattern)]


def files(pattern: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", named(pattern), ids=lambda path: path.stem)


def columns_asked_for(path: Path) -> list[Column]:
    """Take the columns of a file without a header from its command, or from its twin with a header."""
    lines = path.read_text().splitlines()
    if any(len(parse_header(line)) > 1 for line in lines):
        return []
    twin = path.with_name(path.name.replace("_noheader_nounits", ""))
    if twin != path and twin.is_file():
        return list(parse_header(twin.read_text().splitlines()[0]))
    asked = re.search(r"--query-[\w-]+=([\w.,]+)", command_of(path))[1].strip(".,").split(",")
    unnamed = len(lines[0].split(", ")) - len(asked)  # the index abbreviates some long queries by dots
    return [Column(field) for field in [*asked, *(f"unnamed{number}" for number in range(unnamed))]]


def command_of(path: Path) -> str:
    with (SAMPLES / "MANIFEST.tsv").open() as manifest:
        return next(row["command"] for row in csv.DictReader(manifest, delimiter="\t") if row["file"] == path.name)


@files("nvidia-smi_--query-*.csv")
def test_tables(path):
    text = path.read_text()
    table = parse_table(text, columns_asked_for(path))
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(table.rows) + len(table.remarks) == len(lines) - bool(parse_header(lines[0]))
    assert all(is_told_apart(line, path) for line in table.remarks)
    cells = [cell for line in lines[bool(parse_header(lines[0])) :] for cell in line.split(", ")]
    absences = [value for row in table.rows for value in row.values() if isinstance(value, Absent)]
    assert len(absences) == sum(cell.startswith("[") or cell == "N/A" for cell in cells)


def is_told_apart(line: str, path: Path) -> bool:
    """Two files hold more than a table: a message in the midst, and the output of a second command behind."""
    return line.startswith("Unable to determine") or path.name == "nvidia-smi_--query-gpu_memory_-l__t4_units.csv"


@files("nvidia-smi_--query-gpu_ALL_*.csv")
def test_full_captures_hold_what_is_sampled(path):
    (row,) = parse_table(path.read_text()).rows
    for field in SAMPLED_FIELDS:
        assert isinstance(row[field], int | float | Absent) or field == "pstate"
    assert isinstance(row["power.draw.instant"], float)
    assert isinstance(row["clocks_event_reasons.active"], int)
    under_mig = row["mig.mode.current"] == "Enabled"
    assert isinstance(row["utilization.gpu"], Absent) == under_mig


@files("nvidia-smi_--query-compute-apps__*_load.csv")
def test_compute_apps(path):
    apps = parse_compute_apps(path.read_text())
    assert len(apps) == len(path.read_text().splitlines()) - 1
    assert all(app.pid > 0 and app.used_memory_mib and app.process_name for app in apps)


@files("nvidia-smi_--help-query-gpu_*.txt")
def test_every_sampled_field_is_in_the_help(path):
    fields = parse_valid_fields(path.read_text())
    assert set(SAMPLED_FIELDS) <= fields
    assert {"uuid", "gpu_uuid", "clocks_throttle_reasons.active"} <= fields


@files("nvidia-smi_mig_-lgip_*.txt")
def test_mig_profiles(path):
    profiles = parse_mig_profiles(path.read_text())
    assert len(profiles) == path.read_text().count(" MIG ")
    for profile in profiles:
        assert 0 <= profile.free <= profile.total
        assert 14 <= profile.sm_count <= 188
        nominal_gb = int(re.search(r"\.(\d+)gb", profile.name)[1])
        assert 0.8 * nominal_gb < profile.memory_gib <= nominal_gb


@files("nvidia-smi_mig_-lgipp_*.txt")
def test_mig_placements(path):
    placements = parse_mig_placements(path.read_text())
    assert len(placements) == len(path.read_text().splitlines())
    assert placements[0].starts == (0,)


@files("nvidia-smi_mig_-lgi_*.txt")
def test_mig_instances(path):
    instances = parse_mig_instances(path.read_text())
    assert len(instances) == path.read_text().count("|   0  MIG ")
    slices = [place for each in instances for place in range(each.start, each.start + each.size)]
    assert len(slices) == len(set(slices))


@files("nvidia-smi_-L_*.txt")
def test_mig_devices(path):
    devices = parse_mig_devices(path.read_text())
    assert len(devices) == path.read_text().count("(UUID: MIG-")
    assert all(device.gpu_uuid.startswith("GPU-") for device in devices)


def test_a_dead_driver_is_recognised():
    for path in named("nvidia-smi__error_no-driver.txt"):
        assert isinstance(refusal(Answer("nvidia-smi", 9, path.read_text(), "")), SetupError)


READ = (
    "--query-*",
    "--help-query-gpu_*",
    "mig_-lgi_*",
    "mig_-lgip_*",
    "mig_-lgipp_*",
    "-L_*",
    "_error_no-driver.txt",
)
NEVER_ASKED = {
    "what tables for people show is asked as CSV": (
        "_[a-z0-9]*",
        "_error_device*",
        "processes_*",
        "table_*",
        "-q_*",
    ),
    "these readings have no part in a trial": ("dmon_*", "pmon_*", "topo_*", "nvlink_*", "--version_*"),
    "other fields are never asked for": ("--help-query-accounted*", "--help-query-compute*", "-h_*"),
    "the shell helpers change the device": (
        *("-c_*", "-mig_*", "-pm_*", "-pl_*", "-am_*", "-lgc_*", "-rgc_*", "--lock-gpu-clocks*", "--gpu-reset*"),
        *("compute-policy_*", "mig_-cgi_*", "mig_-cci_*", "mig_-dci_*", "mig_-dgi_*"),
    ),
    "compute instances are always whole": ("mig_-lci_*", "mig_-lcip_*"),
}


@files("nvidia-smi_*")
def test_every_output_is_either_read_or_never_asked_for(path):
    known = [*READ, *(pattern for patterns in NEVER_ASKED.values() for pattern in patterns)]
    assert any(fnmatch(path.name, f"nvidia-smi_{pattern}") for pattern in known)
