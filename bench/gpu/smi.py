"""The door to `nvidia-smi`: questions about the device, and nothing that changes it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.clock import Clock
from bench.errors import DeviceError
from bench.gpu.failures import refusal
from bench.gpu.mig_tables import (
    MigDevice,
    MigInstance,
    MigPlacements,
    MigProfile,
    parse_mig_devices,
    parse_mig_instances,
    parse_mig_placements,
    parse_mig_profiles,
)
from bench.gpu.stream import SampleStream
from bench.gpu.table import parse_table
from bench.gpu.tool import Answer, ask
from bench.gpu.values import Absent, Value, int_or_none, text_or_none

UNKNOWN_FIELD = Absent("[field unknown to this driver]")
_TOOL = "nvidia-smi"
_FORMAT = "--format=csv,nounits"
_TIMEOUT_S = 30.0  # a driver without persistence mode needs seconds to wake each GPU of a large host
_GPU_FIELDS = "index,uuid,name,memory.total,driver_version,vbios_version,mig.mode.current,compute_mode"
_NOTHING_THERE = re.compile(r"No GPU instances found: Not Found|No MIG-(supported|enabled) devices found")
_DRIVER = re.compile(r"(?:driver|kmd) version\s*:\s*(\d[\d.]*)", re.IGNORECASE)  # KMD: from R610 on
_CUDA = re.compile(r"cuda (?:umd )?version\s*:\s*(\d[\d.]*)", re.IGNORECASE)
_QUOTED = re.compile(r'"([\w.]+)"')


@dataclass(frozen=True)
class GpuSummary:
    """One line about one GPU; None for what it does not tell, such as the MIG mode of a board without MIG."""

    index: int
    uuid: str
    name: str
    memory_total_mib: int | None
    driver_version: str | None
    vbios_version: str | None
    mig_mode: str | None
    compute_mode: str | None


@dataclass(frozen=True)
class DriverVersions:
    """What the driver calls itself; None for what it does not tell. CUDA is the newest it can run."""

    driver: str | None
    cuda: str | None


@dataclass(frozen=True)
class ComputeApp:
    """One process with a context on the GPU, as the host's process table knows it."""

    pid: int
    process_name: str | None
    used_memory_mib: int | None


class NvidiaSmi:
    """Questions for the `nvidia-smi` that is found in an environment.

    Every method raises SetupError if the machine must be mended first (no tool, no driver, no permission), and
    DeviceError if the tool fails in another way, hangs, or answers something else than it was asked.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def gpus(self) -> list[GpuSummary]:
        """List the GPUs that answer, in the order of their index; one that is lost is left out."""
        return self.census()[0]

    def census(self) -> tuple[list[GpuSummary], list[str]]:
        """List the GPUs that answer, and beside them what the driver says of those that do not."""
        answer = self._ask(f"--query-gpu={_GPU_FIELDS}", _FORMAT)
        table = parse_table(answer.output)
        if answer.status and not table.rows:
            raise refusal(answer)
        return [_summary(row) for row in table.rows if not isinstance(row["uuid"], Absent)], table.remarks

    def versions(self) -> DriverVersions:
        """Return the versions of the driver and of its CUDA; an old one tells them in its table only."""
        answer = self._ask("--version")
        return parse_versions(_succeeded(self._ask() if answer.status else answer).output)

    def query_gpu(self, uuid: str, fields: Sequence[str]) -> dict[str, Value]:
        """Return the value of each field; one that this driver does not know is `UNKNOWN_FIELD`."""
        names = {field: field for field in fields}
        answer = self._query(uuid, names)
        if "is not a valid field to query" in answer.message:
            names = self.names_of(fields)
            answer = self._query(uuid, names)
        row = _row_of(uuid, _succeeded(answer), names.values())
        return {field: row[names[field]] if field in names else UNKNOWN_FIELD for field in fields}

    def names_of(self, fields: Sequence[str]) -> dict[str, str]:
        """Return the name by which this driver knows each field; those that it does not know are left out."""
        names = {field: (field, field.replace("_event_reasons", "_throttle_reasons")) for field in fields}
        known = {field: next((n for n in both if n in self.valid_fields), None) for field, both in names.items()}
        return {field: name for field, name in known.items() if name}

    @cached_property
    def valid_fields(self) -> frozenset[str]:
        """Every name that `--query-gpu` takes, aliases among them."""
        return parse_valid_fields(_succeeded(self._ask("--help-query-gpu")).output)

    def mig_devices(self, uuid: str | None = None) -> list[MigDevice]:
        """List the MIG devices of one GPU, or of all, by index; a container sees its own only."""
        devices = parse_mig_devices(_succeeded(self._ask("-L")).output)
        return [device for device in devices if uuid in (None, device.gpu_uuid)]

    def mig_profiles(self, uuid: str) -> list[MigProfile]:
        """List the sizes of GPU instance that this GPU offers; none on a board without MIG."""
        return parse_mig_profiles(self._mig_list(uuid, "-lgip"))

    def mig_placements(self, uuid: str) -> dict[int, MigPlacements]:
        """Return where instances of each profile may lie, by profile id; nothing on a board without MIG."""
        return parse_mig_placements(self._mig_list(uuid, "-lgipp"))

    def mig_instances(self, uuid: str) -> list[MigInstance]:
        """List the GPU instances that exist."""
        return parse_mig_instances(self._mig_list(uuid, "-lgi"))

    def compute_apps(self, uuid: str) -> list[ComputeApp]:
        """List the processes that compute on this GPU; under MIG, those of all its instances."""
        query = "--query-compute-apps=gpu_uuid,pid,process_name,used_gpu_memory"
        answer = _succeeded(self._ask("-i", uuid, query, _FORMAT))
        return parse_compute_apps(answer.output)

    def supported_sm_clocks(self, uuid: str) -> list[int]:
        """List the frequencies in MHz at which the SM clock can be locked, lowest first; none if it tells none."""
        answer = self._ask("-i", uuid, "--query-supported-clocks=graphics", _FORMAT)
        cells = _succeeded(answer).output.splitlines()
        return sorted({int(cell) for cell in map(str.strip, cells) if cell.isdecimal()})

    def stream(self, uuid: str, fields: Sequence[str], period_ms: int, clock: Clock) -> SampleStream:
        """Start one long-lived sampler process; `fields` must be names that this driver knows (`names_of`)."""
        query = f"--query-gpu={','.join(fields)}"
        command = [_TOOL, "-i", uuid, query, _FORMAT, "-lms", str(period_ms)]
        return SampleStream(command, self._environment, clock)

    def _query(self, uuid: str, names: Mapping[str, str]) -> Answer:
        return self._ask("-i", uuid, f"--query-gpu={','.join(['uuid', *names.values()])}", _FORMAT)

    def _mig_list(self, uuid: str, option: str) -> str:
        answer = self._ask("mig", "-i", uuid, option)
        return "" if _NOTHING_THERE.search(answer.message) else _succeeded(answer).output

    def _ask(self, *arguments: str) -> Answer:
        return ask([_TOOL, *arguments], self._environment, _TIMEOUT_S)


def parse_valid_fields(text: str) -> frozenset[str]:
    """Read `--help-query-gpu`: one line of quoted names for each field, the first of them the header's."""
    lines = (line for line in text.splitlines() if line.startswith('"'))
    return frozenset(name for line in lines for name in _QUOTED.findall(line))


def parse_versions(text: str) -> DriverVersions:
    """Read `--version`, or the banner of the plain table."""
    driver, cuda = _DRIVER.search(text), _CUDA.search(text)
    return DriverVersions(driver[1] if driver else None, cuda[1] if cuda else None)


def parse_compute_apps(text: str) -> list[ComputeApp]:
    """Read `--query-compute-apps` with a header that names at least `pid`; rows without a pid are left out."""
    return [
        ComputeApp(
            pid=row["pid"],
            process_name=text_or_none(row.get("process_name")),
            used_memory_mib=int_or_none(row.get("used_gpu_memory")),
        )
        for row in parse_table(text).rows
        if isinstance(row["pid"], int)
    ]


def _succeeded(answer: Answer) -> Answer:
    if answer.status:
        raise refusal(answer)
    return answer


def _row_of(uuid: str, answer: Answer, fields: Iterable[str]) -> dict[str, Value]:
    """Pick the row of one GPU and make sure that it holds every field."""
    rows = [row for row in parse_table(answer.output).rows if row.get("uuid") == uuid]
    missing = sorted(set(fields) - set(rows[0])) if rows else []
    if len(rows) != 1 or missing:
        lacks = f"lacks {', '.join(missing)}" if missing else f"has {len(rows)} rows of GPU {uuid} instead of one"
        raise DeviceError(
            f"the answer of `{answer.command}` {lacks}:\n  {answer.message}\n"
            "next: run it by hand; if the GPU is gone, `dmesg | grep -i xid` says why"
        )
    return rows[0]


def _summary(row: Mapping[str, Value]) -> GpuSummary:
    return GpuSummary(
        index=int_or_none(row["index"]) or 0,
        uuid=str(row["uuid"]),
        name=str(row["name"]),
        memory_total_mib=int_or_none(row["memory.total"]),
        driver_version=text_or_none(row["driver_version"]),
        vbios_version=text_or_none(row["vbios_version"]),
        mig_mode=text_or_none(row["mig.mode.current"]),
        compute_mode=text_or_none(row["compute_mode"]),
    )
