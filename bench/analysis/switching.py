"""What switching costs: entering and leaving each mode, its steps, and the first CUDA context after it.

A repeat is one block: what was timed several times in a block (a visit that was resumed, the contexts of several
jobs) is averaged first. A visit that did not end well has no duration and is no repeat.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from bench.analysis.answers import Answer
from bench.analysis.colocation import EXCLUSIVE
from bench.plan.model import Plan
from bench.stats.interval import Interval, mean_interval
from bench.stats.rounding import with_limits
from bench.store.record import Status, SwitchingCall, TrialRecord, VisitRecord

ENTER, LEAVE = "enter", "leave"
FIRST, LATER = "first context after entering", "context of each later job"
_STEPS = {
    ("setup_mig", "mode"): "turn MIG mode on",
    ("disable_mig", "mode"): "turn MIG mode off",
    ("enable_mps", "start"): "start the MPS daemon",
    ("disable_mps", "stop"): "stop the MPS daemon",
}
_JOB_PARTS = {"startup_s": "start of Python", "import_s": "import of torch"}

_Timed = tuple[str, int, float]
"""What was timed, in which block, and its duration in seconds."""


@dataclass(frozen=True)
class SwitchingTime:
    """How long one thing takes in one mode: the mean of each block, in seconds, by block."""

    mode: str
    what: str
    by_block: Mapping[int, float]

    @property
    def durations_s(self) -> list[float]:
        """One duration for each block."""
        return list(self.by_block.values())

    @property
    def median_s(self) -> float:
        """The median over blocks."""
        return median(self.durations_s)

    @property
    def interval(self) -> Interval:
        """The mean over blocks with its 95 % t interval."""
        return mean_interval(self.durations_s)


def switching_times(
    plan: Plan, visits: Sequence[VisitRecord], records: Sequence[TrialRecord]
) -> tuple[SwitchingTime, ...]:
    """Return what was timed of each mode, in plan order: the whole, then its steps, then what jobs waited for."""
    return tuple(
        SwitchingTime(mode, what, by_block)
        for mode in (EXCLUSIVE, *(mode.label for mode in plan.sharing_modes))
        for what, by_block in _by_block(_of_mode(mode, visits, records)).items()
    )


def switching_answers(
    plan: Plan, times: Sequence[SwitchingTime], records: Sequence[TrialRecord], simulated: bool
) -> tuple[Answer, ...]:
    """Say for each sharing mode what entering and leaving it costs, or why it was not entered."""
    found = {(time.mode, time.what): time for time in times}
    lead = "With the simulated driver's tools, not on a GPU: " if simulated else ""
    reasons = {record.mode_label: record.reason for record in records if record.reason}
    return tuple(Answer(mode.label, f"{lead}{_claim(mode.label, found, reasons)}.") for mode in plan.sharing_modes)


def _claim(mode: str, found: Mapping[tuple[str, str], SwitchingTime], reasons: Mapping[str, str]) -> str:
    enter, leave, first = (found.get((mode, what)) for what in (ENTER, LEAVE, FIRST))
    if enter is None:
        return f"{mode} was not entered: {(reasons.get(mode) or 'not measured yet').splitlines()[0].rstrip('.')}"
    parts = [f"{mode} takes {_spelled(enter)} to enter"]
    parts += [f"{_spelled(leave)} to leave"] if leave else []
    parts += [f"and {_spelled(first)} until the first job after entering has its CUDA context"] if first else []
    return ", ".join(parts)


def _spelled(time: SwitchingTime) -> str:
    mean = time.interval
    text, _, limits = with_limits(mean.value or 0, mean.low, mean.high).partition(" [")
    interval = f"95 % CI {limits[:-1].replace(', ', ' to ')}, " if limits else ""
    return f"{text} s ({interval}n = {mean.n})"


def _by_block(timed: Iterable[_Timed]) -> dict[str, dict[int, float]]:
    """Average what was timed several times in a block, in the order in which things are first met."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for what, block, duration_s in timed:
        found[what][block].append(duration_s)
    return {what: {block: fmean(blocks[block]) for block in sorted(blocks)} for what, blocks in found.items()}


def _of_mode(mode: str, visits: Sequence[VisitRecord], records: Sequence[TrialRecord]) -> Iterator[_Timed]:
    there = [visit for visit in visits if visit.mode_label == mode and visit.enter_s is not None]
    yield from ((ENTER, visit.block, visit.enter_s) for visit in there if visit.enter_s is not None)
    yield from ((LEAVE, visit.block, visit.leave_s) for visit in there if visit.leave_s is not None)
    yield from sorted((step for visit in there for step in _steps(visit)), key=_reading_order)
    yield from sorted(_contexts([record for record in records if record.mode_label == mode]), key=_reading_order)


def _reading_order(timed: _Timed) -> tuple[int, str]:
    """Put steps in the order in which they are done, and layouts beside each other."""
    order = ["turn MIG mode on", "create", "destroy", "turn MIG mode off", "start", "stop", "import"]
    order += ["first", "context"]
    place = next((number for number, words in enumerate(order) if timed[0].startswith(words)), len(order))
    return place, timed[0]


def _steps(visit: VisitRecord) -> Iterator[_Timed]:
    """Yield the steps of a visit; what is destroyed is what was created last."""
    layout: tuple[str, ...] = ()
    for call in visit.calls:
        for step, duration_s in call.steps_s.items():
            yield _named(call, step, layout), visit.block, duration_s
        layout = call.instances or layout


def _named(call: SwitchingCall, step: str, layout: Sequence[str]) -> str:
    if step == "create":
        return f"create {_spelled_layout(call.instances)}"
    if step == "destroy":
        return f"destroy {_spelled_layout(layout)}"
    return _STEPS.get((call.helper, step), f"{call.helper}: {step}")


def _spelled_layout(profiles: Sequence[str]) -> str:
    """Return `2x3g.40gb` for equal instances, else `3g.40gb+2g.20gb`, as layouts are named elsewhere."""
    equal = len(profiles) > 1 and len(set(profiles)) == 1
    return f"{len(profiles)}x{profiles[0]}" if equal else "+".join(profiles)


def _contexts(records: Sequence[TrialRecord]) -> Iterator[_Timed]:
    """Yield what jobs waited for; the first job of a block's first trial met the mode as it was just entered."""
    met: set[int] = set()
    for record in sorted(records, key=lambda record: (record.block, record.host.started_at)):
        for tenant in record.tenants if record.status is Status.OK else ():
            seen = tenant.identity or {}
            yield from ((what, record.block, seen[key]) for key, what in _JOB_PARTS.items() if key in seen)
            if "context_s" in seen:
                yield LATER if record.block in met else FIRST, record.block, seen["context_s"]
            met.add(record.block)
