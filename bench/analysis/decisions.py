"""Which mode to take, by what one cares about. No mode is named that was not shown to be ahead of every other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.analysis.colocation import EXCLUSIVE
from bench.analysis.contrasts import Cells, Pair, pairwise
from bench.analysis.metrics import ENERGY, ISOLATION, JAIN, STP, TAIL, Metric
from bench.plan.model import Mix, Plan
from bench.stats.interval import Interval, geometric_mean_interval
from bench.stats.verdict import MAX_FAILURE_SHARE, Verdict


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


@dataclass(frozen=True)
class Decision:
    """The best of the candidates in one metric of one mix, and what is known of its lead.

    `leaders` begins with the mode that measured best; whoever cannot be told apart from it follows. `ahead` is the
    pair that is least sure; `lead` is the best over the next, `against_turns` over taking turns.
    """

    mix: str
    concern: Concern
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

    @property
    def winner(self) -> str | None:
        """The mode that was shown to be ahead of every other candidate; None where none was."""
        return self.leaders[0] if self.candidates > 1 and len(self.leaders) == 1 else None


def decisions(plan: Plan, cells: Cells) -> tuple[Decision, ...]:
    """Return what to take for each mix and concern, in plan order."""
    return tuple(_decide(plan, cells, mix, concern) for mix in plan.mixes for concern in CONCERNS)


def _decide(plan: Plan, cells: Cells, mix: Mix, concern: Concern) -> Decision:
    metric = concern.metric.name
    modes = [mode.label for mode in plan.sharing_modes]
    candidates = [EXCLUSIVE] * concern.turns + modes
    barred = tuple(mode for mode in candidates if _fails_too_often(cells, mode, mix))
    asked = [mode for mode in candidates if mode not in barred]
    values = {mode: _mean(cells, mix, metric, mode) for mode in asked}
    known = {mode: value.value for mode, value in values.items() if value.value is not None}
    missing = tuple(mode for mode in asked if mode not in known)
    ranked = sorted(known, key=lambda mode: known[mode], reverse=concern.metric.higher_is_better)
    if not ranked:
        nothing = Interval(None, None, None, 0, 0.95)
        return Decision(mix.name, concern, (), 0, nothing, None, None, None, barred, missing)
    best, *rest = ranked
    pairs = pairwise(cells, mix.name, metric, ranked)
    own = {mode: pairs[best, mode] for mode in rest}
    turns = pairwise(cells, mix.name, metric, [best, EXCLUSIVE]) if best != EXCLUSIVE else {}
    return Decision(
        mix=mix.name,
        concern=concern,
        leaders=(best, *(mode for mode, pair in own.items() if pair.verdict is not Verdict.BETTER)),
        candidates=len(ranked),
        value=values[best],
        lead=own[rest[0]] if rest else None,
        ahead=max(own.values(), key=_doubt, default=None),
        against_turns=turns.get((best, EXCLUSIVE)),
        barred=barred,
        missing=missing,
    )


def _doubt(pair: Pair) -> float:
    return 1.0 if pair.p_adjusted is None else pair.p_adjusted


def _fails_too_often(cells: Cells, mode: str, mix: Mix) -> bool:
    attempts = cells.attempts(mode, mix)
    return sum(attempts.values()) > MAX_FAILURE_SHARE * len(attempts)


def _mean(cells: Cells, mix: Mix, metric: str, mode: str) -> Interval:
    """Return the level of a mode over its blocks; without a value where a job starved."""
    readings = [cell.reading(metric).value for cell in cells.of(mode, mix.name).values()]
    known = [value for value in readings if value is not None]
    bounded = all(0 < value < float("inf") for value in known)
    return geometric_mean_interval(known if bounded else [])


def depends(found: Sequence[Decision]) -> str:
    """Say whether one mode is the answer, or what the answer depends on."""
    shown = [decision for decision in found if decision.winner is not None]
    winners = {decision.winner for decision in shown}
    if not shown:
        return "No mode was shown to be ahead of all others in anything."
    if len(winners) > 1:
        return f"The winner depends on what you ask for: {'; '.join(_by_mode(shown))}."
    (winner,) = winners
    if len(shown) == len(found):
        return f"{winner} was shown to be ahead in every mix and in everything asked for."
    return f"{winner} is the only mode that was shown to be ahead, and only here: {', '.join(_places(shown))}."


def _by_mode(shown: Sequence[Decision]) -> Iterator[str]:
    places: dict[str, list[Decision]] = {}
    for decision in shown:
        places.setdefault(str(decision.winner), []).append(decision)
    for mode, own in places.items():
        yield f"{mode} for {', '.join(_places(own))}"


def _places(shown: Sequence[Decision]) -> Iterator[str]:
    concerns: dict[str, list[str]] = {}
    for decision in shown:
        concerns.setdefault(decision.concern.name, []).append(f"“{decision.mix}”")
    yield from (f"{concern} ({', '.join(mixes)})" for concern, mixes in concerns.items())
