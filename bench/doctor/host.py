"""What this host gives to jobs and results, against what the presets ask for."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from bench.doctor.finding import Finding
from bench.errors import SetupError
from bench.gpu.device import Device
from bench.launch.tenants import GB, refuse_beyond_host
from bench.plan.catalog import load_catalog
from bench.plan.load import PRESET_FOLDER, find_plan, load_plan

RESULTS = "results"
_ROOM_GB = 1.0  # a preset's raw samples, records and report, several times over


@dataclass(frozen=True)
class Host:
    """Cores and memory (GB, 10^9 bytes) that this process may use, room for results, and which presets fit."""

    cores: int
    memory_gb: float
    free_disk_gb: float
    disk: Finding
    presets: tuple[Finding, ...]


def host(device: Device | None) -> Host:
    """Look at the host; presets are judged as a run on this device would, None standing for a real GPU."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB
    free_gb = shutil.disk_usage(_existing(Path(RESULTS))).free / GB
    names = sorted({path.name.split(".")[0] for path in PRESET_FOLDER.glob("*.yaml")})
    presets = tuple(_preset(name, device) for name in names)
    return Host(len(os.sched_getaffinity(0)), round(memory_gb, 1), round(free_gb, 1), _disk(free_gb), presets)


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _disk(free_gb: float) -> Finding:
    name, there = "room for results", f"{free_gb:.1f} GB free in {RESULTS}/"
    if free_gb >= _ROOM_GB:
        return Finding(name, available=True, detail=there)
    reason = f"{there}; a preset may need {_ROOM_GB:g} GB: name another folder with --results"
    return Finding(name, available=False, reason=reason, command=f"du -sh {RESULTS}/*")


def _preset(name: str, device: Device | None) -> Finding:
    kind = device.kind if device else "gpu"
    label, catalog = f"preset {name}", load_catalog()
    if device and device.simulated:
        return Finding(label, available=True, detail="simulated jobs need nothing of the host")
    try:
        refuse_beyond_host(load_plan(find_plan(name, kind), catalog), catalog)
    except SetupError as error:
        if kind == "cpu":
            return Finding(label, available=True, detail=f"jobs will share cores: {error.wrong}")
        return Finding(label, available=False, reason=error.wrong, command=error.command)
    return Finding(label, available=True, detail="fits")
