"""What switching costs, from visits and records whose durations are known."""

from pathlib import Path

import pytest
from synthetic import Recipe, make_run

from bench.analysis.summary import analyse
from bench.analysis.switching import FIRST, LATER
from bench.plan.mode import MODE_ADAPTER
from bench.store.record import SwitchingCall, VisitRecord
from bench.store.run_folder import RunFolder

PLAN = """
modes: [time-slicing, mps, mig]
mixes: {pair: [resnet50-training, bert-base-training]}
timing: switching
blocks: 3
"""


def visit(block, mode, enter_s, leave_s, calls=(), began_at="a"):
    return VisitRecord(
        block=block, mode=MODE_ADAPTER.validate_python({"mode": mode}), mode_label=mode, simulated=False,
        began_at=began_at, enter_s=enter_s, leave_s=leave_s, calls=tuple(calls),
    )  # fmt: skip


def call(helper, phase="prepare", instances=(), **steps_s):
    return SwitchingCall(
        phase=phase, helper=helper, options=(), duration_s=9, succeeded=True, steps_s=steps_s,
        instances=tuple(instances),
    )  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return make_run(tmp_path, Recipe(plan_text=PLAN, simulated=False))


def times(run: RunFolder, *visits: VisitRecord) -> dict[tuple[str, str], dict[int, float]]:
    for each in visits:
        run.keep_visit(each)
    return {(time.mode, time.what): dict(time.by_block) for time in analyse(run).switching}


def test_the_repeat_is_the_block_and_a_resumed_visit_is_averaged(run):
    found = times(run, visit(1, "mps", 1, 4), visit(2, "mps", 2, None), visit(2, "mps", 4, 6, began_at="b"))
    assert found == {("mps", "enter"): {1: 1, 2: 3}, ("mps", "leave"): {1: 4, 2: 6}}


def test_mean_interval_and_median_are_over_blocks(run):
    for block, enter_s in ((1, 1), (2, 2), (3, 6)):
        run.keep_visit(visit(block, "mps", enter_s, 1))
    (enter, leave) = analyse(run).switching
    assert (enter.interval.value, enter.median_s, enter.interval.n) == (3, 2, 3)
    assert enter.interval.half_width == pytest.approx(4.3027 * 7**0.5 / 3**0.5, rel=1e-4)
    assert (leave.interval.low, leave.interval.high) == (1, 1)


def test_what_did_not_end_well_is_no_repeat(run):
    assert times(run, visit(1, "mig", None, 2, [call("setup_mig", mode=1)]), visit(2, "mig", 1, None)) == {
        ("mig", "enter"): {2: 1}
    }


def test_each_layout_is_created_and_destroyed_under_its_own_name(run):
    calls = [
        call("setup_mig", "enter", mode=0.1),
        call("setup_mig", instances=["3g.40gb", "3g.40gb"], create=0.2),
        call("setup_mig", instances=["3g.40gb", "2g.20gb"], destroy=0.3, create=0.4),
        call("setup_mig", instances=["7g.80gb"], destroy=0.5, create=0.6),
        call("disable_mig", "leave", destroy=0.7, mode=0.8),
    ]
    found = times(run, visit(1, "mig", 1, 2, calls))
    assert [(what, by_block[1]) for (_, what), by_block in found.items()] == [
        ("enter", 1), ("leave", 2), ("turn MIG mode on", 0.1),
        ("create 2x3g.40gb", 0.2), ("create 3g.40gb+2g.20gb", 0.4), ("create 7g.80gb", 0.6),
        ("destroy 2x3g.40gb", 0.3), ("destroy 3g.40gb+2g.20gb", 0.5), ("destroy 7g.80gb", 0.7),
        ("turn MIG mode off", 0.8),
    ]  # fmt: skip


def test_the_mps_daemon_is_started_and_stopped(run):
    calls = [call("enable_mps", "enter", start=0.1), call("disable_mps", "leave", stop=0.2)]
    found = times(run, visit(1, "mps", 1, 2, calls))
    assert found["mps", "start the MPS daemon"] == {1: 0.1}
    assert found["mps", "stop the MPS daemon"] == {1: 0.2}


def with_contexts(run: RunFolder, mode: str, context_s: float) -> None:
    """Let each job of a mode have waited for its context: the first one `context_s`, the others half of it."""
    for record in list(run.trials()):
        if record.mode_label == mode:
            seen = [{"context_s": context_s if slot == 0 else context_s / 2, "import_s": 5.0} for slot in (0, 1)]
            tenants = [
                tenant.model_copy(update={"identity": identity})
                for tenant, identity in zip(record.tenants, seen, strict=True)
            ]
            changed = record.model_copy(update={"tenants": tuple(tenants)})
            (run.trials_folder / record.id / "trial.json").write_text(changed.model_dump_json())


def test_the_first_context_after_entering_stands_apart_from_later_ones(run):
    with_contexts(run, "mps", 3.0)
    found = times(run)
    assert found["mps", FIRST] == {1: 3.0, 2: 3.0, 3: 3.0}
    assert found["mps", LATER] == {1: 1.5, 2: 1.5, 3: 1.5}
    assert found["mps", "import of torch"] == {1: 5.0, 2: 5.0, 3: 5.0}
    assert {mode for mode, _ in found} == {"mps"}


def test_the_answer_says_what_each_mode_costs_and_nothing_is_compared(run):
    with_contexts(run, "mps", 3.0)
    run.keep_visit(visit(1, "mps", 1.5, 0.25))
    comparison = analyse(run)
    texts = {answer.mix: answer.text for answer in comparison.answers}
    assert texts["mps"] == (
        "mps takes 1.50 s (n = 1) to enter, 0.250 s (n = 1) to leave, "
        "and 3.00 s (n = 3) until the first job after entering has its CUDA context."
    )
    assert texts["mig"] == "mig was not entered: not measured yet."
    assert (comparison.contrasts, comparison.levels, comparison.cells) == ((), (), ())


def test_an_ordinary_run_on_a_simulated_device_says_nothing_of_it(tmp_path):
    plan = PLAN.replace("timing: switching", "timing: smoke")
    for simulated in (True, False):
        run = make_run(tmp_path / str(simulated), Recipe(plan_text=plan, simulated=simulated))
        run.keep_visit(visit(1, "mps", 1, 2))
        comparison = analyse(run)
        assert bool(comparison.switching) is not simulated
        assert comparison.contrasts
