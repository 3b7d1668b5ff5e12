"""`nvidia-smi --query-gpu` and `--query-compute-apps`: fields, units, and the CSV that holds them."""

from __future__ import annotations

import time

from .row import Row, Value
from .state import SERVER_MEMORY_MIB, DriverState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CUDA_VERSIONS = {"580": "13.0", "590": "13.1", "595": "13.2", "610": "13.3"}
"""By driver branch, as `--version` of each prints it."""
UNKNOWN = "[Unknown Error]"
BUS_ID = "00000000:01:00.0"
IDLE, BUSY = 0x1, 0x0


class Field(Row):
    """One column: how it is read from the state, its unit, and what the help text says about it."""

    read: Callable[[DriverState], Value]
    unit: str = ""
    help: str = "See the manual page of nvidia-smi."


class App(Row):
    """One row of `--query-compute-apps`."""

    pid: int
    name: str
    memory_mib: int


class Format(Row):
    """What `--format=csv[,noheader][,nounits]` asked for."""

    header: bool = True
    units: bool = True


def timestamp(_: DriverState) -> str:
    """Return local time in the tool's form."""
    now = time.time()
    return f"{time.strftime('%Y/%m/%d %H:%M:%S', time.localtime(now))}.{int(now * 1000) % 1000:03d}"


def apps(state: DriverState) -> list[App]:
    """List the processes that compute on the GPU: clients, and the MPS servers in front of them."""
    servers = [
        App(daemon.server_pid, "nvidia-cuda-mps-server", SERVER_MEMORY_MIB)
        for daemon in state.daemons
        if daemon.server_pid is not None
    ]
    return [App(client.pid, client.name, client.memory_mib) for client in state.clients] + servers


def _used_mib(state: DriverState) -> int:
    return sum(app.memory_mib for app in apps(state))


def _enabled(flag: bool) -> str:
    return "Enabled" if flag else "Disabled"


def _mig(flag: str) -> Callable[[DriverState], Value]:
    return lambda state: _enabled(getattr(state, flag)) if state.model.mig_capable else None


def _activity(share: int) -> Callable[[DriverState], Value]:
    """Return a utilisation: with MIG on there is none; otherwise `share` percent while a client is there."""
    return lambda state: None if state.mig_enabled else share * bool(state.clients)


def _reading(name: str) -> Callable[[DriverState], Value]:
    def read(state: DriverState) -> Value:
        value: Value = getattr(state.model.busy if state.clients else state.model.idle, name)
        return f"{value:.2f}" if isinstance(value, float) else value

    return read


def _clock(name: str, lock: str) -> Callable[[DriverState], Value]:
    """Return a clock: while a client is there no higher than its lock, which may be no number at all."""

    def read(state: DriverState) -> Value:
        value: int = getattr(state.model.busy if state.clients else state.model.idle, name)
        upper = (getattr(state, lock) or "").rpartition(",")[2]
        return min(value, int(upper)) if state.clients and upper.isdigit() else value

    return read


def _power_limit(state: DriverState) -> str:
    return f"{state.power_limit_w:.2f}"


def _of_model(name: str) -> Callable[[DriverState], Value]:
    def read(state: DriverState) -> Value:
        value: Value = getattr(state.model, name)
        return f"{value:.2f}" if isinstance(value, float) else value

    return read


def _fixed(value: Value) -> Callable[[DriverState], Value]:
    return lambda _: value


def _memory_temperature(state: DriverState) -> Value:
    value = _reading("memory_temperature_c")(state)
    return "N/A" if value is None else value  # bare, as boards without that sensor say


def _ecc(value: Value) -> Callable[[DriverState], Value]:
    return lambda state: value if state.model.mig_capable else None


def _remapped(state: DriverState) -> Value:
    return 0 if state.model.mig_capable and not state.mig_enabled else None


def _event_reasons(state: DriverState) -> str:
    return f"0x{BUSY if state.clients else IDLE:016X}"


GPU_FIELDS: dict[str, Field] = {
    "timestamp": Field(timestamp, help='When the query was made, as "YYYY/MM/DD HH:MM:SS.msec".'),
    "driver_version": Field(lambda state: state.driver_version),
    "count": Field(_fixed(1), help="How many GPUs the system has."),
    "name": Field(lambda state: state.gpu_name),
    "serial": Field(_ecc("0000000000000")),
    "uuid": Field(lambda state: state.gpu_uuid),
    "pci.bus_id": Field(_fixed(BUS_ID)),
    "index": Field(_fixed(0), help="Zero-based index; it can change at each boot."),
    "vbios_version": Field(_fixed("00.00.00.00.00")),
    "persistence_mode": Field(lambda state: _enabled(state.persistence)),
    "accounting.mode": Field(_fixed("Disabled")),
    "pcie.link.gen.current": Field(_of_model("pcie_generation")),
    "pcie.link.gen.max": Field(_of_model("pcie_generation")),
    "pcie.link.width.current": Field(_fixed(16)),
    "pcie.link.width.max": Field(_fixed(16)),
    "fan.speed": Field(_fixed(None), "%"),
    "pstate": Field(lambda state: "P0" if state.clients or state.model.mig_capable else "P8"),
    "clocks_event_reasons.supported": Field(_fixed("0x00000000000001FF")),
    "clocks_event_reasons.active": Field(_event_reasons),
    "clocks_event_reasons.gpu_idle": Field(lambda state: "Not Active" if state.clients else "Active"),
    **{
        f"clocks_event_reasons.{reason}": Field(_fixed("Not Active"))
        for reason in (
            "applications_clocks_setting",
            "sw_power_cap",
            "hw_slowdown",
            "hw_thermal_slowdown",
            "hw_power_brake_slowdown",
            "sw_thermal_slowdown",
            "sync_boost",
        )
    },
    **{
        f"clocks_event_reasons_counters.{reason}": Field(_fixed(0), "us")
        for reason in (
            "sw_power_cap",
            "sync_boost",
            "sw_thermal_slowdown",
            "hw_thermal_slowdown",
            "hw_power_brake_slowdown",
        )
    },
    "memory.total": Field(_of_model("memory_mib"), "MiB"),
    "memory.reserved": Field(_of_model("reserved_mib"), "MiB"),
    "memory.used": Field(_used_mib, "MiB"),
    "memory.free": Field(lambda s: s.model.memory_mib - s.model.reserved_mib - _used_mib(s), "MiB"),
    "compute_mode": Field(lambda state: state.compute_mode),
    "compute_cap": Field(_of_model("compute_capability")),
    "utilization.gpu": Field(_activity(100), "%", "Share of the last period with a kernel resident."),
    "utilization.memory": Field(_activity(40), "%", "Share of the last period with memory traffic."),
    **{f"utilization.{unit}": Field(_activity(0), "%") for unit in ("encoder", "decoder", "jpeg", "ofa")},
    "ecc.mode.current": Field(_ecc("Enabled")),
    "ecc.mode.pending": Field(_ecc("Enabled")),
    "ecc.errors.corrected.volatile.total": Field(_ecc(0)),
    "ecc.errors.uncorrected.volatile.total": Field(_ecc(0)),
    "remapped_rows.correctable": Field(_remapped),
    "remapped_rows.uncorrectable": Field(_remapped),
    "temperature.gpu": Field(_reading("temperature_c"), help="Core temperature in degrees C."),
    "temperature.memory": Field(_memory_temperature, help="Memory temperature in degrees C."),
    "power.management": Field(_fixed("[Requested functionality has been deprecated]")),
    "power.draw": Field(_reading("power_w"), "W"),
    "power.draw.average": Field(_reading("power_w"), "W"),
    "power.draw.instant": Field(_reading("power_w"), "W"),
    "power.limit": Field(_power_limit, "W"),
    "enforced.power.limit": Field(_power_limit, "W"),
    "power.default_limit": Field(_of_model("power_limit_w"), "W"),
    "power.min_limit": Field(_of_model("power_min_w"), "W"),
    "power.max_limit": Field(_of_model("power_limit_w"), "W"),
    "clocks.current.graphics": Field(_clock("sm_clock_mhz", "clock_lock"), "MHz"),
    "clocks.current.sm": Field(_clock("sm_clock_mhz", "clock_lock"), "MHz"),
    "clocks.current.memory": Field(_clock("memory_clock_mhz", "memory_clock_lock"), "MHz"),
    "clocks.max.graphics": Field(_of_model("max_sm_clock_mhz"), "MHz"),
    "clocks.max.sm": Field(_of_model("max_sm_clock_mhz"), "MHz"),
    "clocks.max.memory": Field(_of_model("max_memory_clock_mhz"), "MHz"),
    "mig.mode.current": Field(_mig("mig_enabled"), help="MIG mode that the GPU runs in."),
    "mig.mode.pending": Field(_mig("mig_pending"), help="MIG mode that the GPU has after its next reset."),
}
ALIASES = {
    "gpu_name": "name",
    "gpu_serial": "serial",
    "gpu_uuid": "uuid",
    "gpu_bus_id": "pci.bus_id",
    "clocks.gr": "clocks.current.graphics",
    "clocks.sm": "clocks.current.sm",
    "clocks.mem": "clocks.current.memory",
    "clocks.max.gr": "clocks.max.graphics",
    "clocks.max.mem": "clocks.max.memory",
}
OLD_REASONS = "clocks_throttle_reasons."
"""What drivers before R535 called the group; newer ones still understand it."""
APP_FIELDS: dict[str, tuple[str, Callable[[DriverState, App], Value]]] = {
    "timestamp": ("", lambda state, _: timestamp(state)),
    "gpu_name": ("", lambda state, _: state.gpu_name),
    "gpu_bus_id": ("", lambda *_: BUS_ID),
    "gpu_serial": ("", lambda state, _: GPU_FIELDS["serial"].read(state)),
    "gpu_uuid": ("", lambda state, _: state.gpu_uuid),
    "pid": ("", lambda _, app: app.pid),
    "process_name": ("", lambda _, app: app.name),
    "used_gpu_memory": ("MiB", lambda _, app: app.memory_mib),
}
APP_ALIASES = {"name": "process_name", "used_memory": "used_gpu_memory"}


def parse_format(text: str | None) -> Format | None:
    """Read the value of `--format`; None if it is not a form of CSV."""
    words = (text or "").split(",")
    if words[0] != "csv" or not set(words[1:]) <= {"noheader", "nounits"}:
        return None
    return Format("noheader" not in words, "nounits" not in words)


def gpu_header(names: list[str]) -> str:
    """Return the header line of `--query-gpu` for canonical `names`."""
    return ", ".join(_titled(name, GPU_FIELDS[name].unit) for name in names) + "\n"


def gpu_row(state: DriverState, names: list[str], form: Format) -> str:
    """Return one sample as a CSV line; of a lost GPU nothing is known."""
    frozen: dict[str, Value] = {each.column: each.text for each in state.frozen}
    if state.lost:
        frozen = dict.fromkeys(names, UNKNOWN)
    fields = {name: GPU_FIELDS[name] for name in names}
    values = [(frozen[name] if name in frozen else fields[name].read(state), fields[name].unit) for name in names]
    return ", ".join(_cell(value, unit, form) for value, unit in values) + "\n"


def canonical_gpu_field(name: str) -> str | None:
    """Return the column that `name` means, or None if the driver has no such field."""
    if name.startswith(OLD_REASONS):
        name = "clocks_event_reasons." + name.removeprefix(OLD_REASONS)
    name = ALIASES.get(name, name)
    return name if name in GPU_FIELDS else None


def compute_apps(state: DriverState, names: list[str], form: Format) -> str:
    """Return the table of `--query-compute-apps` for canonical `names`: header only when the GPU is idle."""
    fields = [APP_FIELDS[name] for name in names]
    header = ", ".join(_titled(name, APP_FIELDS[name][0]) for name in names) + "\n" if form.header else ""
    rows = [", ".join(_cell(read(state, app), unit, form) for unit, read in fields) for app in apps(state)]
    return header + "".join(f"{row}\n" for row in rows)


def canonical_app_field(name: str) -> str | None:
    """Return the column of `--query-compute-apps` that `name` means, or None."""
    name = APP_ALIASES.get(name, name)
    return name if name in APP_FIELDS else None


def help_query_gpu() -> str:
    """Return the list of valid fields, laid out as the tool does it."""
    old_names = {name: old for old, name in ALIASES.items()}
    entries = [
        f'"{name}"' + (f' or "{old_names[name]}"' if name in old_names else "") + f"\n{field.help}\n"
        for name, field in GPU_FIELDS.items()
    ]
    return 'List of valid properties to query for the switch "--query-gpu":\n\n' + "\n".join(entries)


def _titled(name: str, unit: str) -> str:
    return f"{name} [{unit}]" if unit else name


def _cell(value: Value, unit: str, form: Format) -> str:
    if value is None:
        return "[N/A]"
    text = str(value)
    return f"{text} {unit}" if unit and form.units and not text.startswith("[") else text
