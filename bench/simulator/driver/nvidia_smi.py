"""A stand-in for `nvidia-smi`, as far as the shell helpers and the telemetry use it.

Exit codes: 0 done (also when only a warning was printed), 2 bad argument, 6 no such device, 15 the GPU fell off
the bus, and those of `settings`, `limits`, `policy` and `mig`. What it does not know, the plain table among it, it
refuses as a bad argument.
Modules that only some commands need are imported by these: each costs a call 0.5 ms.
"""

from __future__ import annotations

import sys
import time

from . import faults, query
from .arguments import (
    FLAGS,
    MIG_FLAGS,
    MIG_OPTIONS,
    OPTIONS,
    POLICY_OPTIONS,
    USAGE,
    Answer,
    BadArgumentError,
    Request,
    columns,
    numbers,
    parse,
    period_s,
)
from .state import DriverState, updated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

OK, INVALID, NOT_FOUND, FELL_OFF = 0, 2, 6, 15
LOST = f"Unable to determine the device handle for GPU{query.BUS_ID[4:]}: Unknown Error\n"


def main(argv: list[str], state_path: str) -> int:
    """Answer one command line on stdout; return the exit code."""
    ended = faults.intervene("nvidia-smi", " ".join(argv))
    if ended is not None:
        return ended
    try:
        if argv[:1] == ["mig"]:
            text, code = _mig(parse(argv[1:], MIG_OPTIONS, MIG_FLAGS), state_path)
        elif argv[:1] == ["compute-policy"]:
            text, code = _compute_policy(parse(argv[1:], POLICY_OPTIONS, {}), state_path)
        else:
            text, code = _answer(parse(argv, OPTIONS, FLAGS), state_path)
    except BadArgumentError as error:
        text, code = str(error), INVALID
    sys.stdout.write(text)
    return code


def _answer(request: Request, path: str) -> Answer:
    """Do the one thing that the command line asks for."""
    state = DriverState.load(path)
    if not _addressed(state, request):
        return "No devices were found\n", NOT_FOUND
    if state.lost and not SEES_A_LOST_GPU & request.keys():
        return LOST, FELL_OFF
    for option, view in VIEWS.items():
        if option in request:
            return view(request, path)
    return _set(request, path)


def _set(request: Request, path: str) -> Answer:
    """Change a setting of the device."""
    from . import settings

    setters: dict[str, Callable[[DriverState, str], Answer]] = {**settings.SETTERS}
    if not setters.keys() & request.keys():
        from . import limits

        setters.update(limits.SETTERS)
    for option, setter in setters.items():
        if option in request:
            with updated(path) as state:
                return setter(state, request[option])
    raise BadArgumentError(USAGE)


def _compute_policy(request: Request, path: str) -> Answer:
    """Answer `nvidia-smi compute-policy ...`."""
    from .policy import set_time_slice

    if "set-timeslice" not in request:
        raise BadArgumentError(USAGE)
    with updated(path) as state:
        if not _addressed(state, request):
            return "No devices were found\n", NOT_FOUND
        return (LOST, FELL_OFF) if state.lost else set_time_slice(state, request["set-timeslice"])


def _addressed(state: DriverState, request: Request) -> bool:
    """Whether `-i` names this GPU: by index, bus id or UUID; without it every GPU is meant."""
    return request.get("id", "0") in {"0", query.BUS_ID, state.gpu_uuid}


def _version(_: Request, path: str) -> Answer:
    """Answer `--version`: from R610 on the driver and CUDA lines have other names."""
    driver = DriverState.load(path).driver_version
    branch = driver.partition(".")[0]
    cuda = query.CUDA_VERSIONS[branch]
    common = f"NVIDIA-SMI version  : {driver}\nNVML version        : {'.'.join(driver.split('.')[:2])}\n"
    if int(branch) < RENAMED_SINCE:
        return f"{common}DRIVER version      : {driver}\nCUDA Version        : {cuda}\n", OK
    text = (
        f'{common}DRIVER version      : Deprecated, see "KMD version" instead\n'
        f'CUDA version        : Deprecated, see "CUDA UMD version" instead\n'
        f"KMD version         : {driver}\nCUDA UMD version    : {cuda}\n"
    )
    return text, OK


def _help_query_gpu(_: Request, __: str) -> Answer:
    return query.help_query_gpu(), OK


def _list_devices(_: Request, path: str) -> Answer:
    """Answer `-L`: the GPU, then its MIG devices by GPU-instance and compute-instance id."""
    from .mig_tables import compute_name

    state = DriverState.load(path)
    lines = [f"GPU 0: {state.gpu_name} (UUID: {state.gpu_uuid})"]
    instances = sorted(state.instances, key=lambda gi: gi.id)
    pairs = [(gi, ci) for gi in instances for ci in gi.compute if state.shows_mig in (None, ci.uuid)]
    for index, (gi, ci) in enumerate(pairs):
        name = compute_name(state.profile(gi), ci.slices)
        lines.append(f"  MIG {name:<12}Device {index:>2}: (UUID: {ci.uuid})")
    return "\n".join(lines) + "\n", OK


def _query_gpu(request: Request, path: str) -> Answer:
    """Answer `--query-gpu`, once or, with `-l` or `-lms`, until a signal ends it."""
    names = columns(request["query-gpu"], query.canonical_gpu_field)
    form, pause_s = _form(request), period_s(request)
    if form.header:
        _emit(request, query.gpu_header(names))
    while True:
        state = DriverState.load(path)
        _emit(request, (LOST if state.lost else "") + query.gpu_row(state, names, form))
        if pause_s is None:
            return "", FELL_OFF if state.lost else OK
        time.sleep(pause_s)


def _emit(request: Request, text: str) -> None:
    """Write to stdout, or append to the file of `-f`; at once, for a reader may be waiting."""
    if "filename" in request:
        with open(request["filename"], "a", encoding="utf-8") as file:
            file.write(text)
    else:
        sys.stdout.write(text)
        sys.stdout.flush()


def _query_apps(request: Request, path: str) -> Answer:
    names = columns(request["query-compute-apps"], query.canonical_app_field)
    return query.compute_apps(DriverState.load(path), names, _form(request)), OK


def _query_supported_clocks(request: Request, path: str) -> Answer:
    from .limits import supported_clocks

    names, form = request["query-supported-clocks"], _form(request)
    if names not in ("gr", "graphics"):
        raise BadArgumentError(f'Field "{names}" is not a valid field to query.\n')
    unit = " MHz" if form.units else ""
    rows = [f"{mhz}{unit}" for mhz in supported_clocks(DriverState.load(path).model)]
    return "\n".join(["graphics [MHz]", *rows] if form.header else rows) + "\n", OK


def _form(request: Request) -> query.Format:
    form = query.parse_format(request.get("format"))
    if form is None:
        raise BadArgumentError(USAGE)
    return form


VIEWS = {
    "version": _version,
    "help-query-gpu": _help_query_gpu,
    "list": _list_devices,
    "query-gpu": _query_gpu,
    "query-compute-apps": _query_apps,
    "query-supported-clocks": _query_supported_clocks,
}
SEES_A_LOST_GPU = {"version", "help-query-gpu", "query-gpu"}
RENAMED_SINCE = 610


def _mig(request: Request, path: str) -> Answer:
    """Answer `nvidia-smi mig ...`."""
    from . import mig, mig_tables

    state = DriverState.load(path)
    if state.lost:
        return LOST, FELL_OFF
    without = _without_mig(state, request)
    if without is not None:
        return without, NOT_FOUND
    selection = mig_tables.Selection(numbers(request.get("gi")), numbers(request.get("ci")))
    for option, listing in mig_tables.LISTINGS.items():
        if option in request:
            return listing(state, selection)
    if "lcip" in request:
        from .mig_compute import list_compute_profiles

        return list_compute_profiles(state, selection)
    for option, change in mig.CHANGES.items():
        if option in request:
            with updated(path) as state:
                return change(state, request, selection)
    raise BadArgumentError(USAGE)


def _without_mig(state: DriverState, request: Request) -> str | None:
    """Return what the tool says where there is nothing to speak about; None if there is."""
    if not _addressed(state, request):
        return "No devices were found\n"
    if not state.model.mig_capable:
        return "No MIG-supported devices found.\n"
    if not state.mig_enabled and not {"lgip", "lgipp"} & set(request):
        return "No MIG-enabled devices found.\n"
    return None
