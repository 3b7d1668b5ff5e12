"""Which blocks are measured once more, and what counts then. Steps that drift do so by 10 % over the window."""

from collections.abc import Callable
from pathlib import Path

import pytest
from synthetic import Recipe, make_run, usual_rate

from bench.analysis.blocks import decide_blocks
from bench.analysis.contrasts import Contrast
from bench.analysis.steadiness import decide_repeats
from bench.analysis.summary import Comparison, analyse, measures
from bench.plan.model import TIMINGS
from bench.plan.schedule import Role, Trial
from bench.store.decision import RepeatDecision
from bench.store.record import Status
from bench.store.run_folder import RunFolder

DRIFT = 0.1


def drifting(
    *blocks: int, role: Role = Role.MIX, mode: str = "mps", longer: bool = False
) -> Callable[[Trial], float]:
    """Return the drift of one kind of trial in some blocks."""

    def drift(trial: Trial) -> float:
        told = (trial.role, trial.mode.label, trial.longer) == (role, mode, longer)
        return DRIFT if told and trial.block in blocks else 0.0

    return drift


def decided(run: RunFolder, blocks: int = 6, earlier: RepeatDecision | None = None) -> RepeatDecision:
    return decide_repeats(earlier or RepeatDecision(), measures(run, list(run.trials())), blocks)


def headline(comparison: Comparison, trials: str = "all") -> Contrast:
    (row,) = [
        row for row in comparison.contrasts
        if (row.metric, row.mode, row.baseline, row.job, row.trials) == ("stp", "mps", "exclusive", "", trials)
    ]  # fmt: skip
    return row


@pytest.mark.parametrize(
    ("role", "mode"),
    [(Role.MIX, "mps"), (Role.MIX, "time-slicing"), (Role.SOLO, "exclusive"), (Role.REPEAT, "time-slicing")],
)
def test_one_unsteady_window_repeats_its_block_whichever_mode_it_is_of(
    tmp_path: Path, role: Role, mode: str
) -> None:
    decision = decided(make_run(tmp_path, Recipe(drift=drifting(2, 5, role=role, mode=mode))))
    assert (decision.judged_blocks, decision.blocks) == (6, (2, 5))
    assert {window.flag for window in decision.unsteady} <= {"drift", "no_steady_state"}
    assert all(window.reason and mode in window.trial for window in decision.unsteady)


def test_a_steady_run_repeats_nothing(tmp_path: Path) -> None:
    assert decided(make_run(tmp_path)) == RepeatDecision(judged_blocks=6)


def test_a_decision_stands_and_only_later_blocks_are_judged(tmp_path: Path) -> None:
    run = make_run(tmp_path, Recipe(drift=drifting(1, 3, 6)))
    first = decided(run, blocks=2)
    assert first.blocks == (1,)
    edited = RepeatDecision(judged_blocks=4, unsteady=first.unsteady)
    assert decided(run, 6, edited).blocks == (1, 6)


def test_a_repeat_that_drifts_as_well_is_flagged_and_not_repeated_again(tmp_path: Path) -> None:
    run = make_run(tmp_path, Recipe(drift=drifting(2, longer=True), repeated=(2,)))
    assert decided(run, 6).blocks == ()
    comparison = analyse(run)
    assert "b02x2-mps-pair" in comparison.flagged
    assert headline(comparison).n_blocks == 6
    assert headline(comparison, "unflagged").n_blocks == 5


def test_the_repeat_counts_in_every_mode_and_the_first_time_is_kept(tmp_path: Path) -> None:
    def rate(trial: Trial, slot: int) -> float:
        """As usual, but for the first time of block 2: ten times as fast in every mode, alone as usual."""
        spoilt = trial.block == 2 and not trial.longer and trial.role is Role.MIX
        return usual_rate(trial, slot) * (10 if spoilt else 1)

    clean = analyse(make_run(tmp_path / "clean"))
    run = make_run(tmp_path / "spoilt", Recipe(rate=rate, repeated=(2,)))
    comparison = analyse(run)
    assert headline(comparison).ratio == pytest.approx(headline(clean).ratio, rel=1e-6)
    assert headline(comparison).n_blocks == 6
    seconds = {trial.window.length_s for trial in comparison.trials if trial.record.longer}
    assert seconds == {2 * TIMINGS["standard"].window_s}
    first = [record for record in comparison.records if record.block == 2 and not record.longer]
    again = [record for record in comparison.records if record.longer]
    assert len(first) == len(again) == len(comparison.records) // 7
    assert not {trial.record.id for trial in comparison.counted} & {record.id for record in first}
    assert comparison.missing == 0


def test_what_failed_the_first_time_is_kept_and_does_not_count(tmp_path: Path) -> None:
    def status(trial: Trial) -> tuple[Status, str | None]:
        out_of_memory = trial.block == 2 and trial.mode.label == "mps" and not trial.longer
        return (Status.FAILED, "oom") if out_of_memory else (Status.OK, None)

    comparison = analyse(make_run(tmp_path, Recipe(status=status, repeated=(2,))))
    row = headline(comparison)
    assert (row.failures, row.n_attempted, row.n_blocks) == (0, 6, 6)
    assert comparison.counts[Status.FAILED] == 1


def test_a_repeat_that_was_not_measured_yet_is_missing(tmp_path: Path) -> None:
    run = make_run(tmp_path, Recipe(status=lambda t: None if t.longer else (Status.OK, None), repeated=(4,)))
    comparison = analyse(run)
    assert comparison.missing == len(comparison.records) // 6
    assert headline(comparison).n_blocks == 5


def test_trials_that_are_known_are_not_measured_again(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    known = measures(run, list(run.trials()))
    for file in run.trials_folder.glob("*/steps.parquet"):
        file.unlink()
    assert headline(analyse(run, known)).n_blocks == 6


def test_the_pilot_decides_by_what_counts(tmp_path: Path) -> None:
    def rate(trial: Trial, slot: int) -> float:
        spoilt = trial.block == 2 and not trial.longer and trial.role is Role.MIX
        return usual_rate(trial, slot) * (10 if spoilt else 1)

    text = "modes: [mps]\nmixes: {pair: [resnet50-training, bert-base-training]}\ntiming: paper\nblocks: 6\n"
    asked = [
        decide_blocks(make_run(tmp_path / name, Recipe(plan_text=text, rate=rate, repeated=blocks))).blocks
        for name, blocks in (("as it was", ()), ("once more", (2,)))
    ]
    assert asked == [40, 6]


def test_only_timings_whose_numbers_count_repeat_blocks() -> None:
    assert {name for name, timing in TIMINGS.items() if timing.repeats_unsteady} == {
        "standard",
        "sequential",
        "paper",
    }
