"""A stand-in for `nvidia-smi`, as far as the shell helpers and the telemetry use it.

Exit codes: 0 done (also when only a warning was printed), 2 bad argument, 6 no such device, and those of
`settings` and `mig`. What it does not know, the plain table among it, it refuses as a bad argument.
Modules that only some commands need are imported by these: each costs a call 0.5 ms.
"""

import sys
import time

from . import faults, query
from .arguments import (
    FLAGS,
    MIG_FLAGS,
    MIG_OPTIONS,
    OPTIONS,
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

OK, INVALID, NOT_FOUND = 0, 2, 6


def main(argv: list[str], state_path: str) -> int:
    """Answer one command line on stdout; return the exit code."""
    ended = faults.intervene("nvidia-smi", " ".join(argv))
    if ended is not None:
        return ended
    try:
        if argv[:1] == ["mig"]:
            text, code = _mig(parse(argv[1:], MIG_OPTIONS, MIG_FLAGS), state_path)
        else:
            text, code = _answer(parse(argv, OPTIONS, FLAGS), state_path)
    except BadArgumentError as error:
        text, code = str(error), INVALID
    sys.stdout.write(text)
    return code


def _answer(request: Request, path: str) -> Answer:
    """Do the one thing that the command line asks for."""
    if not _addressed(DriverState.load(path), request):
        return "No devices were found\n", NOT_FOUND
    for option, view in VIEWS.items():
        if option in request:
            return view(request, path)
    return _set(request, path)


def _set(request: Request, path: str) -> Answer:
    """Change a setting of the device."""
    from .settings import SETTERS

    for option, setter in SETTERS.items():
        if option in request:
            with updated(path) as state:
                return setter(state, request[option])
    raise BadArgumentError(USAGE)


def _addressed(state: DriverState, request: Request) -> bool:
    """Whether `-i` names this GPU: by index, bus id or UUID; without it every GPU is meant."""
    return request.get("id", "0") in {"0", query.BUS_ID, state.gpu_uuid}


def _version(_: Request, __: str) -> Answer:
    short = query.DRIVER_VERSION.rpartition(".")[0]
    text = (
        f"NVIDIA-SMI version  : {query.DRIVER_VERSION}\nNVML version        : {short}\n"
        f"DRIVER version      : {query.DRIVER_VERSION}\nCUDA Version        : {query.CUDA_VERSION}\n"
    )
    return text, OK


def _help_query_gpu(_: Request, __: str) -> Answer:
    return query.help_query_gpu(), OK


def _list_devices(_: Request, path: str) -> Answer:
    """Answer `-L`: the GPU, then its MIG devices by GPU-instance and compute-instance id."""
    from .mig_tables import compute_name

    state = DriverState.load(path)
    lines = [f"GPU 0: {state.gpu_name} (UUID: {state.gpu_uuid})"]
    pairs = [(gi, ci) for gi in sorted(state.instances, key=lambda gi: gi.id) for ci in gi.compute]
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
        _emit(request, query.gpu_row(DriverState.load(path), names, form))
        if pause_s is None:
            return "", OK
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
}


def _mig(request: Request, path: str) -> Answer:
    """Answer `nvidia-smi mig ...`."""
    from . import mig, mig_tables

    state = DriverState.load(path)
    without = _without_mig(state, request)
    if without is not None:
        return without, NOT_FOUND
    selection = mig_tables.Selection(numbers(request.get("gi")), numbers(request.get("ci")))
    for option, listing in mig_tables.LISTINGS.items():
        if option in request:
            return listing(state, selection)
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
