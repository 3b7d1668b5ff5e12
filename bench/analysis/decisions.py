"""Which mode to take, by what one cares about. No mode is named that was not shown to be ahead of every other."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from bench.analysis.cells import Cells
from bench.analysis.colocation import EXCLUSIVE
from bench.analysis.metrics import ENERGY, GOODPUT, ISOLATION, JAIN, STP, TAIL, Metric
from bench.analysis.pairwise import Pair, pairwise
from bench.analysis.reading import Reading, first_reason
from bench.analysis.requests import NO_SLO
from bench.plan.model import Mix, Plan
from bench.stats.equivalence import Reproduction
from bench.stats.interval import Interval, geometric_mean_interval
from bench.stats.verdict import Verdict, fails_too_often


@dataclass(frozen=True)
class Concern:
    """What one may care about, and the metric that stands for it.

    Taking turns is a candidate where `turns` says so. In the other metrics it is perfect by definition, since jobs
    that take turns never meet, and the wait for a turn is not in them.
    """

    name: str
    metric: Metric
    turns: bool


CONCERNS = (
    Concern("throughput", STP, turns=True),
    Concern("tail latency", TAIL, turns=False),
    Concern("fairness", JAIN, turns=False),
    Concern("isolation", ISOLATION, turns=False),
    Concern("energy", ENERGY, turns=True),
)
SERVED = Concern("goodput", GOODPUT, turns=False)
"""Asked for each job whose users were promised an answer in time (its SLO)."""
ALIKE = frozenset({Reproduction.REPRODUCED, Reproduction.REPRODUCED_BUT_DIFFERENT})


@dataclass(frozen=True)
class Decision:
    """The best of the candidates in one metric of one mix, and what is known of its lead.

    `leaders` begins with the mode that measured best; whoever cannot be told apart from it follows. `ahead` is the
    pair that is least sure; `lead` is the best over the next, `against_turns` over taking turns. `job` is empty
    where the concern is of the mix as a whole.
    """

    mix: str
    concern: Concern
    job: str
    leaders: tuple[str, ...]
    candidates: int
    value: Interval
    lead: Pair | None
    ahead: Pair | None
    against_turns: Pair | None
    barred: tuple[str, ...]
    """Modes that fail too often to be taken."""
    missing: tuple[str, ...]
    """Modes without a value, so that nothing is known of them."""
    reason: str | None
    """Why the first of these has none."""
    alike: bool
    """Whether the best was shown to be the same as each other leader, within the margin of the metric."""

    @property
    def name(self) -> str:
        """What is cared about: "throughput", "goodput of jupyter"."""
        return f"{self.concern.name} of {self.job}" if self.job else self.concern.name

    @property
    def winner(self) -> str | None:
        """The mode that was shown to be ahead of every other candidate; None where none was."""
        return self.leaders[0] if self.candidates > 1 and len(self.leaders) == 1 else None


def decisions(plan: Plan, cells: Cells) -> tuple[Decision, ...]:
    """Return what to take for each mix and concern, in plan order."""
    return tuple(_decide(plan, cells, mix, *asked) for mix in plan.mixes for asked in _concerns(plan, cells, mix))


def _concerns(plan: Plan, cells: Cells, mix: Mix) -> Iterator[tuple[Concern, str]]:
    """Yield what may be asked of a mix, and of which job of it, if of one."""
    for job in dict.fromkeys(job.label for job in mix.jobs if job.serves_users):
        modes = (EXCLUSIVE, *(mode.label for mode in plan.sharing_modes))
        if all(r.reason != NO_SLO for mode in modes for r in _readings(cells, mix, GOODPUT.name, mode, job)):
            yield SERVED, job
    needed = {TAIL: 0, JAIN: 2}  # jobs that take turns; users have a tail too
    yield from ((concern, "") for concern in CONCERNS if mix.turns >= needed.get(concern.metric, 1))


def _decide(plan: Plan, cells: Cells, mix: Mix, concern: Concern, job: str) -> Decision:
    metric = concern.metric.name
    modes = [mode.label for mode in plan.sharing_modes]
    candidates = [EXCLUSIVE] * concern.turns + modes
    barred = tuple(mode for mode in candidates if _fails_too_often(cells, mode, mix))
    asked = [mode for mode in candidates if mode not in barred]
    readings = {mode: _readings(cells, mix, metric, mode, job) for mode in asked}
    values = {mode: _mean(own) for mode, own in readings.items()}
    known = {mode: value.value for mode, value in values.items() if value.value is not None}
    missing = tuple(mode for mode in asked if mode not in known)
    reason = first_reason(reading for mode in missing for reading in readings[mode])
    ranked = sorted(known, key=lambda mode: known[mode], reverse=concern.metric.higher_is_better)
    if not ranked:
        nothing = Interval(None, None, None, 0, 0.95)
        return Decision(
            mix.name, concern, job, (), 0, nothing, None, None, None, barred, missing, reason, alike=False
        )
    best, *rest = ranked
    pairs = pairwise(cells, mix.name, metric, ranked, job)
    own = {mode: pairs[best, mode] for mode in rest}
    rivals = {mode: pair for mode, pair in own.items() if pair.verdict is not Verdict.BETTER}
    turns = pairwise(cells, mix.name, metric, [best, EXCLUSIVE]) if concern.turns and best != EXCLUSIVE else {}
    return Decision(
        mix=mix.name,
        concern=concern,
        job=job,
        leaders=(best, *rivals),
        candidates=len(ranked),
        value=values[best],
        lead=own[rest[0]] if rest else None,
        ahead=max(own.values(), key=_doubt, default=None),
        against_turns=turns.get((best, EXCLUSIVE)),
        barred=barred,
        missing=missing,
        reason=reason,
        alike=bool(rivals) and all(pair.sameness in ALIKE for pair in rivals.values()),
    )


def _doubt(pair: Pair) -> float:
    return 1.0 if pair.p_adjusted is None else pair.p_adjusted


def _fails_too_often(cells: Cells, mode: str, mix: Mix) -> bool:
    attempts = cells.attempts(mode, mix)
    return fails_too_often(sum(attempts.values()), len(attempts))


def _readings(cells: Cells, mix: Mix, metric: str, mode: str, job: str) -> list[Reading]:
    return [cell.reading(metric, job) for cell in cells.of(mode, mix.name).values()]


def _mean(readings: Sequence[Reading]) -> Interval:
    """Return the level of a mode over its blocks; without a value where a job starved."""
    known = [reading.value for reading in readings if reading.value is not None]
    bounded = all(0 < value < float("inf") for value in known)
    return geometric_mean_interval(known if bounded else [])


def depends(found: Sequence[Decision]) -> str:
    """Say whether one mode is the answer, or what the answer depends on."""
    shown = [decision for decision in found if decision.winner is not None]
    mixes = {decision.mix for decision in found}
    rest = "" if len(shown) == len(found) else " Elsewhere no mode was shown to be ahead of all others."
    winners = {decision.winner for decision in shown}
    if not shown:
        return "No mode was shown to be ahead of all others in anything."
    if len(winners) > 1:
        return f"The winner depends on what you ask for: {'; '.join(_by_mode(shown, mixes))}.{rest}"
    (winner,) = winners
    if not rest:
        return f"{winner} was shown to be ahead in {'every mix and in ' * (len(mixes) > 1)}everything asked for."
    places = ", ".join(_places(shown, mixes))
    return f"{winner} is the only mode that was shown to be ahead, and only here: {places}."


def _by_mode(shown: Sequence[Decision], mixes: Set[str]) -> Iterator[str]:
    places: dict[str, list[Decision]] = {}
    for decision in shown:
        places.setdefault(str(decision.winner), []).append(decision)
    for mode, own in places.items():
        yield f"{mode} for {', '.join(_places(own, mixes))}"


def _places(shown: Sequence[Decision], mixes: Set[str]) -> Iterator[str]:
    """Yield what is cared about; with more than one mix, also where."""
    concerns: dict[str, list[str]] = {}
    for decision in shown:
        concerns.setdefault(decision.name, []).append(f"“{decision.mix}”")
    for concern, where in concerns.items():
        yield f"{concern} ({', '.join(where)})" if len(mixes) > 1 else concern
