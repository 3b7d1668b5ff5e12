"""The tables of `nvidia-smi mig` and the list of `nvidia-smi -L`, by pattern: column widths differ by driver."""

import re
from dataclasses import dataclass

_GPU = re.compile(r"^GPU +(\d+): (.+) \(UUID: (GPU-[^)]+)\)")
_MIG_DEVICE = re.compile(r"^ +MIG (\S+) +Device +(\d+): \(UUID: (MIG-[^)]+)\)")
_PROFILE = re.compile(
    r"^\| +(?P<gpu>\d+) +MIG (?P<name>\S+) +(?P<id>\d+) +(?P<free>\d+)/(?P<total>\d+)"
    r" +(?P<memory>[\d.]+) +\S+ +(?P<sm>\d+) "
)
_PLACEMENT = re.compile(r"^GPU +(\d+) Profile ID +(\d+) Placements? *: \{([\d,]+)\}:(\d+)")
_INSTANCE = re.compile(r"^\| +\d+ +MIG (\S+) +(\d+) +(\d+) +(\d+):(\d+) ")


@dataclass(frozen=True)
class MigDevice:
    """One compute instance as CUDA sees it. `profile` is `3g.40gb`, or `1c.2g.10gb` for part of an instance."""

    gpu_uuid: str
    profile: str
    index: int
    uuid: str


@dataclass(frozen=True)
class MigProfile:
    """One size of GPU instance: how many still fit now, how many fit at most, and what each has."""

    name: str
    id: int
    free: int
    total: int
    memory_gib: float
    sm_count: int


@dataclass(frozen=True)
class MigPlacements:
    """Where instances of one profile may start, and how many memory slices each takes."""

    profile_id: int
    starts: tuple[int, ...]
    size: int


@dataclass(frozen=True)
class MigInstance:
    """One GPU instance that exists, with its place."""

    profile: str
    profile_id: int
    instance_id: int
    start: int
    size: int


def parse_mig_devices(text: str) -> list[MigDevice]:
    """Read `nvidia-smi -L`: the MIG devices of all GPUs, each with its parent's UUID."""
    devices, parent = [], ""
    for line in text.splitlines():
        if gpu := _GPU.match(line):
            parent = gpu[3]
        elif found := _MIG_DEVICE.match(line):
            devices.append(MigDevice(parent, found[1], int(found[2]), found[3]))
    return devices


def parse_mig_profiles(text: str) -> list[MigProfile]:
    """Read `nvidia-smi mig -lgip` of one GPU, in the order of the table."""
    rows = (_PROFILE.match(line) for line in text.splitlines())
    return [
        MigProfile(
            name=row["name"],
            id=int(row["id"]),
            free=int(row["free"]),
            total=int(row["total"]),
            memory_gib=float(row["memory"]),
            sm_count=int(row["sm"]),
        )
        for row in rows
        if row
    ]


def parse_mig_placements(text: str) -> dict[int, MigPlacements]:
    """Read `nvidia-smi mig -lgipp` of one GPU, by profile id."""
    rows = (_PLACEMENT.match(line) for line in text.splitlines())
    placements = [MigPlacements(int(r[2]), tuple(map(int, r[3].split(","))), int(r[4])) for r in rows if r]
    return {placement.profile_id: placement for placement in placements}


def parse_mig_instances(text: str) -> list[MigInstance]:
    """Read `nvidia-smi mig -lgi` of one GPU; wide and narrow tables alike."""
    rows = (_INSTANCE.match(line) for line in text.splitlines())
    return [MigInstance(r[1], *(int(r[place]) for place in range(2, 6))) for r in rows if r]
