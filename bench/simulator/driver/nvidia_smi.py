"""A stand-in for `nvidia-smi`, as far as the shell helpers and the telemetry use it.

Exit codes: 0 done (also when a warning was printed), 2 bad argument, 3 not supported, 4 no permission, 6 no
such device, 19 in use.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from . import query
from .state import DriverState, updated

Answer = tuple[str, int]
OK, INVALID, NO_PERMISSION, NOT_FOUND, IN_USE = 0, 2, 4, 6, 19

VALUE_OPTIONS = {
    "-i": "id",
    "--id": "id",
    "-f": "filename",
    "--filename": "filename",
    "-l": "loop",
    "--loop": "loop",
    "-lms": "loop-ms",
    "--loop-ms": "loop-ms",
    "--format": "format",
    "--query-gpu": "query-gpu",
    "--query-compute-apps": "query-compute-apps",
    "-pm": "persistence-mode",
    "--persistence-mode": "persistence-mode",
    "-c": "compute-mode",
    "--compute-mode": "compute-mode",
    "-mig": "mig-mode",
    "--multi-instance-gpu": "mig-mode",
}
FLAGS = {"-L": "list", "--list-gpus": "list", "--version": "version", "--help-query-gpu": "help-query-gpu"}
MIG_VALUES = {"-i": "id", "--id": "id", "-gi": "gi", "-ci": "ci", "-cgi": "cgi", "-cci": "cci"}
MIG_VALUES |= {"--gpu-instance-id": "gi", "--compute-instance-id": "ci"}
MIG_VALUES |= {"--create-gpu-instance": "cgi", "--create-compute-instance": "cci"}
MIG_FLAGS = {flag: flag[1:] for flag in ("-lgip", "-lgipp", "-lgi", "-lci", "-dgi", "-dci", "-C")}
ON = {"1", "ENABLED", "enabled"}
OFF = {"0", "DISABLED", "disabled"}
COMPUTE_MODES = {"0": "DEFAULT", "2": "PROHIBITED", "3": "EXCLUSIVE_PROCESS"}
SHOWN_MODES = {
    "DEFAULT": "Default",
    "PROHIBITED": "Prohibited",
    "EXCLUSIVE_PROCESS": "Exclusive_Process",
}
PERSISTENCE_WARNING = (
    f"\nWarning: persistence mode is disabled on device {query.BUS_ID}. See the Known Issues section of the "
    "nvidia-smi(1) man page for more information. Run with [--help | -h] switch to get more information on "
    "how to enable persistence mode.\n"
)
HELD = (
    f"{query.BUS_ID} is currently being used by one or more other processes (e.g. CUDA application or a "
    "monitoring application such as another instance of nvidia-smi). Please first kill all processes using "
    "the device and retry the command or reboot the system to make MIG mode effective.\n"
)


class BadArgument(Exception):
    """The command line is not one that the tool understands; the text is what it prints."""


class Request(NamedTuple):
    """A parsed command line: options by their long name, flags as empty strings."""

    options: dict[str, str]

    def get(self, name: str) -> str | None:
        """Return the value of an option, None if it was not given."""
        return self.options.get(name)


def main(argv: list[str], state_path: str) -> int:
    """Answer one command line on stdout; return the exit code."""
    if os.environ.get("BENCH_SIM_FAULTS"):
        from . import faults

        ended = faults.intervene("nvidia-smi", " ".join(argv))
        if ended is not None:
            return ended
    try:
        if argv[:1] == ["mig"]:
            text, code = _mig(parse(argv[1:], MIG_VALUES, MIG_FLAGS, optional={"cci"}), state_path)
        else:
            text, code = _answer(parse(argv, VALUE_OPTIONS, FLAGS), state_path)
    except BadArgument as error:
        text, code = str(error), INVALID
    sys.stdout.write(text)
    return code


def parse(
    argv: list[str],
    values: dict[str, str],
    flags: dict[str, str],
    optional: frozenset[str] | set[str] = frozenset(),
) -> Request:
    """Read a command line in the tool's own manner: `-i X`, `--id=X`, `--id X`; BadArgument for the rest."""
    options: dict[str, str] = {}
    words = list(argv)
    while words:
        word = words.pop(0)
        option, equals, value = word.partition("=")
        if word in flags:
            options[flags[word]] = ""
        elif option not in values:
            raise BadArgument(f"ERROR: Option {word} is not recognized. Please run 'nvidia-smi -h'.\n")
        elif equals:
            options[values[option]] = value
        elif words and not (values[option] in optional and words[0].startswith("-")):
            options[values[option]] = words.pop(0)
        elif values[option] in optional:
            options[values[option]] = ""
        else:
            raise BadArgument(query.USAGE)
    return Request(options)


def _answer(request: Request, path: str) -> Answer:
    """Choose the one thing that the command line asks for."""
    if request.get("version") is not None:
        return _version(), OK
    if request.get("help-query-gpu") is not None:
        return query.help_query_gpu(), OK
    state = DriverState.load(path)
    if not _addressed(state, request.get("id")):
        return "No devices were found\n", NOT_FOUND
    if request.get("list") is not None:
        return list_devices(state), OK
    if request.get("query-gpu") is not None:
        return _query_gpu(request, path)
    if request.get("query-compute-apps") is not None:
        return _query_apps(request, state)
    return _change(request, path)


def _addressed(state: DriverState, wanted: str | None) -> bool:
    """Whether `-i` names this GPU: by index, bus id or UUID; without it every GPU is meant."""
    return wanted is None or wanted in {"0", query.BUS_ID, state.gpu_uuid}


def _version() -> str:
    short = query.DRIVER_VERSION.rpartition(".")[0]
    return (
        f"NVIDIA-SMI version  : {query.DRIVER_VERSION}\nNVML version        : {short}\n"
        f"DRIVER version      : {query.DRIVER_VERSION}\nCUDA Version        : {query.CUDA_VERSION}\n"
    )


def list_devices(state: DriverState) -> str:
    """Answer `-L`: the GPU, and its MIG devices by GPU-instance and compute-instance id."""
    from . import mig

    lines = [f"GPU 0: {state.gpu_name} (UUID: {state.gpu_uuid})"]
    pairs = [(gi, ci) for gi in sorted(state.instances) for ci in gi.compute]
    for index, (gi, ci) in enumerate(pairs):
        name = mig.compute_name(state.profile(gi), ci.slices)
        lines.append(f"  MIG {name:<12}Device {index:>2}: (UUID: {ci.uuid})")
    return "\n".join(lines) + "\n"


def _query_gpu(request: Request, path: str) -> Answer:
    names = _columns(request.options["query-gpu"], query.canonical_gpu_field)
    form = _form(request)
    if form.header:
        _emit(request, query.gpu_header(names))
    while True:
        _emit(request, query.gpu_row(DriverState.load(path), names, form))
        period_s = _period_s(request)
        if period_s is None:
            return "", OK
        time.sleep(period_s)


def _period_s(request: Request) -> float | None:
    """Return how long `-l` or `-lms` waits between samples; None for a single one."""
    try:
        seconds, milliseconds = request.get("loop"), request.get("loop-ms")
        if milliseconds is not None:
            return int(milliseconds) / 1000
        return float(seconds) if seconds is not None else None
    except ValueError:
        raise BadArgument(query.USAGE) from None


def _emit(request: Request, text: str) -> None:
    filename = request.get("filename")
    if filename is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    with open(filename, "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)


def _query_apps(request: Request, state: DriverState) -> Answer:
    names = _columns(request.options["query-compute-apps"], query.canonical_app_field)
    return query.compute_apps(state, names, _form(request)), OK


def _columns(text: str, canonical: Callable[[str], str | None]) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    unknown = next((name for name in names if canonical(name) is None), None)
    if unknown is not None:
        raise BadArgument(f'Field "{unknown}" is not a valid field to query.\n')
    return [column for name in names if (column := canonical(name))]


def _form(request: Request) -> query.Format:
    form = query.parse_format(request.get("format"))
    if form is None:
        raise BadArgument(query.USAGE)
    return form


def _change(request: Request, path: str) -> Answer:
    """Set persistence, compute mode or MIG mode; BadArgument for anything else, the plain table among it."""
    setters = {"persistence-mode": _set_persistence, "compute-mode": _set_compute_mode, "mig-mode": _set_mig}
    for option, setter in setters.items():
        value = request.get(option)
        if value is not None:
            with updated(path) as state:
                return setter(state, value)
    raise BadArgument(query.USAGE)


def _switch(value: str) -> bool:
    if value not in ON | OFF:
        raise BadArgument(query.USAGE)
    return value in ON


def _set_persistence(state: DriverState, value: str) -> Answer:
    wanted = _switch(value)
    if not state.privileged:
        return _unable("set persistence mode", "Insufficient Permissions", NO_PERMISSION)
    already = wanted == state.persistence
    state.persistence = wanted
    word = "Enabled" if wanted else "Disabled"
    if already:
        return f"Persistence mode is already {word} for GPU {query.BUS_ID}.\nAll done.\n", OK
    return f"{word} persistence mode for GPU {query.BUS_ID}.\nAll done.\n", OK


def _set_compute_mode(state: DriverState, value: str) -> Answer:
    mode = COMPUTE_MODES.get(value, value)
    if mode not in SHOWN_MODES:
        raise BadArgument(query.USAGE)
    if not state.privileged:
        return _unable("set the compute mode", "Insufficient Permissions", NO_PERMISSION)
    already = state.compute_mode == SHOWN_MODES[mode]
    state.compute_mode = SHOWN_MODES[mode]
    if already:
        return f"Compute mode is already set to {mode} for GPU {query.BUS_ID}.\nAll done.\n", OK
    return f"Set compute mode to {mode} for GPU {query.BUS_ID}.\nAll done.\n", OK


def _set_mig(state: DriverState, value: str) -> Answer:
    """Change the MIG mode as the board can: at once on Hopper, through a reset on Ampere, not at all elsewhere."""
    wanted = _switch(value)
    verb = "enable" if wanted else "disable"
    if not state.model.mig_capable:
        text = f"Unable to {verb} MIG Mode for GPU {query.BUS_ID}: Not Supported\n"
        return f"{text}Treating as warning and moving on.\nAll done.\n", OK
    if not state.privileged:
        return _unable(f"{verb} MIG Mode", "Insufficient Permissions", NO_PERMISSION)
    if wanted != state.mig_enabled and (
        state.instances or (state.in_use and not state.model.mig_needs_reset)
    ):
        return _unable(f"{verb} MIG Mode", "In use by another client", IN_USE)
    state.mig_pending = wanted
    if wanted != state.mig_enabled and state.in_use:
        warning = (
            f"Warning: MIG mode is in pending {verb} state for GPU {query.BUS_ID}:In use by another client\n"
        )
        return f"{warning}{HELD}All done.\n", OK
    state.mig_enabled = wanted
    note = "" if state.persistence else PERSISTENCE_WARNING
    return f"{verb.capitalize()}d MIG Mode for GPU {query.BUS_ID}\n{note}All done.\n", OK


def _unable(what: str, reason: str, code: int) -> Answer:
    text = f"Unable to {what} for GPU {query.BUS_ID}: {reason}\nTerminating early due to previous errors.\n"
    return text, code


def _mig(request: Request, path: str) -> Answer:
    """Answer `nvidia-smi mig ...`."""
    from . import mig

    state = DriverState.load(path)
    if not _addressed(state, request.get("id")):
        return "No devices were found\n", NOT_FOUND
    if not state.model.mig_capable:
        return "No MIG-supported devices found.\n", NOT_FOUND
    if request.get("lgip") is not None:
        return mig.list_profiles(state), OK
    if request.get("lgipp") is not None:
        return mig.list_placements(state), OK
    if not state.mig_enabled:
        return "No MIG-enabled devices found.\n", NOT_FOUND
    selection = mig.Selection(_numbers(request.get("gi")), _numbers(request.get("ci")))
    if request.get("lgi") is not None:
        return mig.list_gpu_instances(state, selection)
    if request.get("lci") is not None:
        return mig.list_compute_instances(state, selection)
    return _mig_change(request, selection, path)


def _mig_change(request: Request, selection: "mig.Selection", path: str) -> Answer:  # type: ignore[name-defined] # noqa: F821
    from . import mig

    profiles = (request.get("cgi") or request.get("cci") or "").split(",")
    wanted = [profile for profile in profiles if profile]
    with updated(path) as state:
        if request.get("cgi") is not None:
            return mig.create_gpu_instances(state, wanted, request.get("C") is not None)
        if request.get("cci") is not None:
            return mig.create_compute_instances(state, wanted, selection)
        if request.get("dci") is not None:
            return mig.destroy_compute_instances(state, selection)
        if request.get("dgi") is not None:
            return mig.destroy_gpu_instances(state, selection)
    raise BadArgument(query.USAGE)


def _numbers(text: str | None) -> frozenset[int] | None:
    if text is None:
        return None
    if not all(number.isdigit() for number in text.split(",")):
        raise BadArgument(query.USAGE)
    return frozenset(int(number) for number in text.split(","))
