"""The whole way from a run's files to what it says, in one call."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from multiprocessing import get_context

from bench.analysis.answers import Answer, Findings, answer
from bench.analysis.cells import Cells
from bench.analysis.colocation import BlockCell, block_cells
from bench.analysis.components import Components, components
from bench.analysis.contrasts import UNFLAGGED, Contrast, contrasts
from bench.analysis.controls import Control, controls
from bench.analysis.crosschecks import CrossCheck, crosschecks
from bench.analysis.decisions import Decision, decisions
from bench.analysis.derived import derived_levels, price_of
from bench.analysis.drift import Execution, executions
from bench.analysis.levels import Level, levels
from bench.analysis.poolable import check_poolable
from bench.analysis.ranking import Ranking, rankings
from bench.analysis.series import Series, series
from bench.analysis.steadiness import is_counted
from bench.analysis.switching import SwitchingTime, switching_answers, switching_times
from bench.analysis.trials import TrialMeasure, measure
from bench.plan.catalog import load_catalog
from bench.plan.model import Plan
from bench.plan.price import Price
from bench.plan.schedule import make_repeats, make_schedule
from bench.plan.select import select_modes
from bench.store.decision import BlockDecision, RepeatDecision
from bench.store.record import RunRecord, Status, TrialRecord
from bench.store.run_folder import RunFolder

LARGE_RUN = 100  # trials from which a second process is worth its start


@dataclass(frozen=True)
class Comparison:
    """What a run says: everything that the report shows, and nothing that needs a file any more.

    `records` and `trials` are all there are; results are of those that count (`is_counted`).
    """

    run: RunRecord
    plan: Plan
    records: tuple[TrialRecord, ...]
    trials: tuple[TrialMeasure, ...]
    cells: tuple[BlockCell, ...]
    levels: tuple[Level, ...]
    contrasts: tuple[Contrast, ...]
    answers: tuple[Answer, ...]
    scheduled: int
    switching: tuple[SwitchingTime, ...] = ()
    decisions: tuple[Decision, ...] = ()
    controls: tuple[Control, ...] = ()
    block_decision: BlockDecision | None = None
    repeats: RepeatDecision = field(default_factory=RepeatDecision)
    crosschecks: tuple[CrossCheck, ...] = ()
    series: tuple[Series, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    executions: tuple[Execution, ...] = ()
    components: Components | None = None
    price: Price | None = None
    """What an hour of the device costs; None where nobody says."""

    @cached_property
    def counted(self) -> tuple[TrialMeasure, ...]:
        """The ok trials that results are made of: without blocks that were measured once more, longer."""
        return tuple(trial for trial in self.trials if is_counted(trial.record, self.repeats))

    @property
    def counts(self) -> Mapping[Status, int]:
        """How many trials ended in each status."""
        return Counter(record.status for record in self.records)

    @property
    def missing(self) -> int:
        """How many scheduled trials have not been measured: the run was interrupted, or is still going on."""
        return max(0, self.scheduled - len(self.records))

    @cached_property
    def measured(self) -> Mapping[str, TrialMeasure]:
        """The ok trials by id."""
        return {trial.record.id: trial for trial in self.trials}

    @cached_property
    def flagged(self) -> Mapping[str, tuple[str, ...]]:
        """The flags of each trial that has some, by id: remarks that do not invalidate it."""
        flags = {r.id: self.measured[r.id].flags if r.id in self.measured else r.flags for r in self.records}
        return {name: some for name, some in flags.items() if some}

    @property
    def found(self) -> str | None:
        """What a run in mode as-found took as it was; None for a run that switched its device."""
        text = self.run.device.get("found")
        return str(text) if text else None

    @property
    def model_validation(self) -> str | None:
        """The published error of the simulated device's model; None where there is none."""
        text = self.run.device.get("model_validation")
        return str(text) if text else None


def analyse(run: RunFolder, known: Sequence[TrialMeasure] = ()) -> Comparison:
    """Read a run and say what it says, however far it got; raises RecordError where records cannot be pooled.

    Trials that are `known`, measured by `measures`, are not measured again.
    """
    record, plan, block_decision, repeats = run.record, plan_of(run), run.decision, run.repeats
    pilot_blocks = block_decision.spread_blocks if block_decision else None
    records = tuple(run.trials())
    check_poolable(record, records)
    trials = measures(run, records, known)
    counting = tuple(each for each in records if is_counted(each, repeats))
    counted = [trial for trial in trials if is_counted(trial.record, repeats)]
    units = {tenant.job: tenant.unit for each in records for tenant in each.tenants}
    blocks = block_cells(counted, plan.mixes)
    cells, price = Cells(blocks, counting, pilot_blocks), price_of(plan, record)
    told, compared = levels(plan, cells, units), contrasts(plan, cells, units)
    if any(each.flags for each in counting) or any(trial.flags for trial in counted):
        compared += _without_flagged(plan, counting, counted, units, pilot_blocks)
    first_times = [each for each in records if not is_counted(each, repeats)]
    findings = Findings(plan, cells, compared, counting, record.simulated, first_times)
    comparison = Comparison(
        run=record,
        plan=plan,
        records=records,
        trials=trials,
        cells=blocks,
        levels=told + derived_levels(plan, blocks, counted, units, price),
        contrasts=compared,
        answers=tuple(answer(findings, mix) for mix in plan.mixes),
        scheduled=sum(
            len(schedule.trials)
            for schedule in (make_schedule(plan, record.seed), make_repeats(plan, record.seed, repeats.blocks))
        ),
        decisions=decisions(plan, cells),
        controls=controls(plan, counted, blocks, counting, units, pilot_blocks),
        block_decision=block_decision,
        repeats=repeats,
        crosschecks=crosschecks(plan, cells),
        series=series(plan, blocks),
        rankings=rankings(plan, told),
        executions=executions(records, counted, blocks),
        components=components(plan, counted, counting, None if record.simulated else run.visits()),
        price=price,
    )
    return _with_switching(comparison, run)


def measures(
    run: RunFolder, records: Sequence[TrialRecord], known: Sequence[TrialMeasure] = ()
) -> tuple[TrialMeasure, ...]:
    """Measure the trials that are ok, in the order of `records`, less those `known` already."""
    found = {trial.record.id: trial for trial in known}
    missing = [record for record in records if record.id not in found]
    found |= {trial.record.id: trial for trial in _measured(run, missing) if trial is not None}
    return tuple(found[record.id] for record in records if record.id in found)


def _measured(run: RunFolder, records: Sequence[TrialRecord]) -> list[TrialMeasure | None]:
    """Measure trials; many of them in two processes, because each waits for none."""
    if len(records) < LARGE_RUN:
        return [measure(run, record) for record in records]
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        return list(pool.map(partial(measure, run), records, chunksize=len(records) // 2 + 1))


def _with_switching(comparison: Comparison, run: RunFolder) -> Comparison:
    """Add what switching took; a run that measures just this compares nothing.

    Other runs on a simulated device leave it out: it is the time of the stand-in driver's tools.
    """
    plan, simulated = comparison.plan, comparison.run.simulated
    about_it = plan.timing.measures == "switching"
    if simulated and not about_it:
        return comparison
    times = switching_times(plan, tuple(run.visits()), comparison.records)
    if not about_it:
        return replace(comparison, switching=times)
    answers = switching_answers(plan, times, comparison.records, simulated)
    return replace(
        comparison,
        switching=times,
        answers=answers,
        cells=(),
        levels=(),
        contrasts=(),
        decisions=(),
        crosschecks=(),
        series=(),
        rankings=(),
        executions=(),
    )


def plan_of(run: RunFolder) -> Plan:
    """Return the plan as it ran: the stored file, with the modes named and the number of blocks decided."""
    record = run.record
    plan = run.plan(load_catalog())
    kind = str(record.device.get("kind", "gpu"))
    decision = run.decision
    return select_modes(plan, record.modes or (), record.preset, kind).plan.lasting(
        decision.blocks if decision else None
    )


def _without_flagged(
    plan: Plan,
    records: tuple[TrialRecord, ...],
    trials: Sequence[TrialMeasure],
    units: dict[str, str],
    pilot_blocks: int | None,
) -> tuple[Contrast, ...]:
    """Ask everything again of the unflagged trials alone, as a check on what the flags might have caused."""
    kept = [trial for trial in trials if not trial.flags]
    cells = Cells(block_cells(kept, plan.mixes), records, pilot_blocks)
    return contrasts(plan, cells, units, trials=UNFLAGGED)
