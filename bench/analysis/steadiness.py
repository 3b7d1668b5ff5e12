"""Which blocks are measured once more: those in which a declared window was not steady.

The rule is fixed before any data and blind to the mode: one such window of any tenant, in whichever mode, repeats
its whole block in every mode, once, with windows twice as long. From then on the repeat counts, however it turns
out, and the first time is shown.
"""

from collections.abc import Iterable, Iterator

from bench.analysis.trials import TrialMeasure
from bench.analysis.windows import flag_of
from bench.store.decision import RepeatDecision, UnsteadyWindow
from bench.store.record import TrialRecord


def decide_repeats(earlier: RepeatDecision, trials: Iterable[TrialMeasure], blocks: int) -> RepeatDecision:
    """Judge the first `blocks` blocks, less those that were judged earlier: of these the decision stands."""
    fresh = range(earlier.judged_blocks + 1, blocks + 1)
    first_time = [trial for trial in trials if trial.record.block in fresh and not trial.record.longer]
    found = (window for trial in first_time for window in unsteady_windows(trial))
    return RepeatDecision(judged_blocks=blocks, unsteady=(*earlier.unsteady, *found))


def unsteady_windows(trial: TrialMeasure) -> Iterator[UnsteadyWindow]:
    """Yield the windows of a trial that are flagged, in plan order."""
    for measured in trial.tenants:
        if flag := flag_of(measured.verdict):
            yield UnsteadyWindow(
                block=trial.record.block, trial=trial.record.id, tenant=measured.tenant.name, flag=flag,
                reason="; ".join(measured.verdict.reasons),
            )  # fmt: skip


def is_counted(record: TrialRecord, decision: RepeatDecision) -> bool:
    """Whether a trial is part of results, or was measured once more and is only shown."""
    return record.longer or record.block not in decision.blocks
