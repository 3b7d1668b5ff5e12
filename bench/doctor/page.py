"""The diagnosis as text: a line for each finding, and below it the command that would change it."""

import textwrap
from collections.abc import Iterable, Iterator

from bench.doctor.diagnosis import Diagnosis
from bench.doctor.finding import Finding
from bench.doctor.graphics import Gpu
from bench.gpu.holders import Holder
from bench.gpu.smi import ComputeApp

_HELD = "held open by, as far as this user may see"
_WIDTH = 110
_TEXT = 36  # column at which the text of a finding begins


def page(told: Diagnosis) -> str:
    """Lay the diagnosis out; it ends with the next sensible command."""
    ways, host = told.launchers, told.host
    sections = [
        _section("NVIDIA", [told.driver, told.cuda, told.mps_tool], told.lost),
        *(_gpu(gpu) for gpu in told.gpus),
        _section(_HELD, [], map(_holder, told.holders)) if told.holders else "",
        _section("modes" if told.device is None else f"modes on {told.device.name}", told.modes),
        _section("containers (--launcher docker)", [ways.engine, ways.toolkit, *ways.images]),
        _section("packages (--launcher process)", ways.packages),
        _section(f"host: {host.cores} cores, {host.memory_gb:g} GB of memory", [host.disk, *host.presets]),
        f"next: {told.next_command}",
    ]
    return "\n\n".join(filter(None, sections))


def _section(title: str, findings: Iterable[Finding], remarks: Iterable[str] = ()) -> str:
    return "\n".join([title, *_rows(findings), *(f"  {remark}" for remark in remarks)])


def _gpu(gpu: Gpu) -> str:
    """Describe one GPU; why it lacks a mode is told in a section of its own where a run would take this GPU."""
    state = gpu.state
    pending = f" (pending: {state.mig_pending})" if state.mig_pending != state.mig_mode else ""
    facts = [
        f"memory {gpu.memory_total_mib or '?'} MiB",
        f"compute capability {gpu.compute_capability or '?'}",
        f"compute mode {state.compute_mode or '?'}",
        f"MIG {state.mig_mode or 'not there'}{pending}",
        *(f"MIG instance {profile}" for profile, _, _ in state.instances),
        *(["a display is active on it"] if gpu.display_active == "Enabled" else []),
    ]
    apps = [_app(app) for app in gpu.processes] or ["no process computes on it"]
    remarks = [f"modes: {_listed(gpu, able=True)}; not: {_listed(gpu, able=False)}", *apps]
    own = [gpu.persistence, gpu.clock_lock, gpu.last_run]
    return _section(f"{gpu.name} ({gpu.uuid})\n{_wrapped(', '.join(facts), 2)}", own, remarks)


def _listed(gpu: Gpu, able: bool) -> str:
    return ", ".join(mode.name for mode in gpu.modes if mode.available == able) or "none"


def _app(app: ComputeApp) -> str:
    memory = "memory unknown" if app.used_memory_mib is None else f"{app.used_memory_mib} MiB"
    return f"process {app.pid} {app.process_name or '(name hidden)'}, {memory}"


def _holder(holder: Holder) -> str:
    where = ", ".join(holder.nodes)
    mps = f"MPS, pipe directory {holder.mps_pipe_directory}" if holder.mps_pipe_directory else ""
    return f"process {holder.pid} {holder.name}: {'; '.join(filter(None, (mps, where)))}"


def _rows(findings: Iterable[Finding]) -> Iterator[str]:
    before = None
    for finding in findings:
        why = (finding.reason, finding.command)
        same = why == before and finding.reason is not None
        before = why
        yield _row(finding, "the same" if same else finding.detail or finding.reason or "")
        if finding.command and not same:
            yield f"{'':{_TEXT}}$ {finding.command}"


def _row(finding: Finding, text: str) -> str:
    head = f"  {finding.name:<{_TEXT - 8}} {'yes' if finding.available else 'no':<5}"
    return f"{head}{_wrapped(text, _TEXT).lstrip()}".rstrip()


def _wrapped(text: str, indent: int) -> str:
    wrapper = textwrap.TextWrapper(_WIDTH - indent, break_long_words=False, break_on_hyphens=False)
    return textwrap.indent(wrapper.fill(text), " " * indent)
