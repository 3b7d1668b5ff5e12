"""Jobs that serve users: what these got, worked out by hand, and what becomes of STP beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic import Recipe, make_run

from bench.analysis.metrics import EDP, ENERGY, UNIT_COST, UNIT_ENERGY
from bench.analysis.requests import NO_REQUEST, NO_SLO, Requests, requests_in, service
from bench.analysis.summary import Comparison, analyse
from bench.analysis.windows import latency_of
from bench.launch.corun import Window as Released
from bench.plan.schedule import Role, Trial
from bench.stats.window import Window

WINDOW = Window(10.0, 20.0)
MIXED = """
name: users
modes: [time-slicing, mps]
mixes:
  both: [resnet50-training, {workload: jupyter, slo_s: 0.5}]
  users: [{workload: jupyter, slo_s: 0.5}]
blocks: 6
"""
USER = "jupyter slo_s=0.5"


def table(*rows: tuple[int, float, float, str]) -> pd.DataFrame:
    slot, scheduled_s, done_s, status = zip(*rows, strict=True)
    columns = {"slot": slot, "scheduled_s": scheduled_s, "sent_s": scheduled_s, "done_s": done_s, "status": status}
    return pd.DataFrame({**columns, "items": 1})


TEN_SECONDS = table(
    (0, 9.9, 12.0, "ok"),  # scheduled before the window
    (0, 11.0, 11.2, "ok"),
    (1, 11.5, 11.6, "ok"),  # another tenant's
    (0, 13.0, 13.1, "error"),  # soon, but no answer
    (0, 10.0, 10.5, "ok"),  # the window's first instant belongs to it, and the SLO's last to the SLO
    (0, 14.0, 14.8, "ok"),  # too late
    (0, 19.9, 20.3, "ok"),  # followed past the end of the window
    (0, 20.0, 20.1, "ok"),  # scheduled after it
)


def test_those_scheduled_in_the_window_count_and_no_others() -> None:
    found = requests_in(WINDOW, TEN_SECONDS, slot=0)
    assert found.scheduled_s.tolist() == [10.0, 11.0, 13.0, 14.0, 19.9]
    assert found.response_s == pytest.approx([0.5, 0.2, np.inf, 0.8, 0.4])
    assert found.answered.duration_s == pytest.approx([0.5, 0.2, 0.8, 0.4])


def test_goodput_and_attainment_by_hand() -> None:
    """Of five in 10 s three were in time, one was late, one was never answered."""
    got = service(WINDOW, [requests_in(WINDOW, TEN_SECONDS, slot=0)], slo_s=0.5)
    assert got.offered_per_s.value == pytest.approx(0.5)
    assert got.goodput_per_s.value == pytest.approx(0.3)
    assert got.attainment.value == pytest.approx(3 / 5)
    assert got.errors.value == pytest.approx(1 / 5)


def test_equal_tenants_are_seen_as_one_rates_of_each_on_average_and_shares_of_all() -> None:
    both = [requests_in(WINDOW, TEN_SECONDS, slot) for slot in (0, 1)]
    got = service(WINDOW, both, slo_s=0.5)
    assert got.offered_per_s.value == pytest.approx(6 / 20)
    assert got.goodput_per_s.value == pytest.approx(4 / 20)
    assert got.attainment.value == pytest.approx(4 / 6)


def test_a_failed_request_takes_for_ever_so_it_cannot_flatter_a_tail() -> None:
    """Of 500 requests 5 failed: p99 falls on the slowest that was answered; one more, and it has no bound."""
    taken_s = np.linspace(0.1, 0.595, 500)
    for failed, expected in ((5, taken_s[494]), (6, None)):
        got = latency_of(np.concatenate([taken_s[: 500 - failed], np.full(failed, np.inf)]), "requests")
        assert got.reading(0.99).value == expected
        assert got.reading(0.5).value == taken_s[249]
    assert got.reading(0.99).reason == "6 of 500 requests failed, so p99 has no bound"


def test_without_an_slo_there_is_no_goodput_and_without_requests_nothing_and_each_says_why() -> None:
    got = service(WINDOW, [requests_in(WINDOW, TEN_SECONDS, slot=0)], slo_s=None)
    assert (got.goodput_per_s.value, got.goodput_per_s.reason) == (None, NO_SLO)
    assert (got.attainment.value, got.attainment.reason) == (None, NO_SLO)
    assert got.errors.value == pytest.approx(1 / 5)
    none: list[Requests] = [requests_in(WINDOW, None, slot=0)]
    idle = service(WINDOW, none, slo_s=0.5)
    assert idle.offered_per_s.value == 0
    assert {idle.goodput_per_s.reason, idle.attainment.reason, idle.errors.reason} == {NO_REQUEST}


def ten_a_second(trial: Trial, window: Released) -> Mapping[str, Any]:
    """Ten requests a second; alone all take 0.1 s, beside others a part of them 2 s, which the mode decides."""
    due_s = np.arange(window.start_s, window.stop_s, 0.1)
    late = 0 if trial.role is Role.SOLO else {"time-slicing": 4, "mps": 2}.get(trial.mode.mode, 0)
    varied = late + trial.block % 2
    taken_s = np.where(np.arange(len(due_s)) % 10 < varied * (late > 0), 2.0, 0.1)
    done_s = due_s + taken_s
    order = np.argsort(done_s, kind="stable")
    columns = {"scheduled_s": due_s, "sent_s": due_s, "done_s": done_s, "status": np.full(len(due_s), "ok")}
    return {**{name: values[order] for name, values in columns.items()}, "items": np.ones(len(due_s))}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return analyse(make_run(tmp_path_factory.mktemp("run"), Recipe(plan_text=MIXED, requests=ten_a_second)))


def level(comparison: Comparison, mix: str, mode: str, metric: str, job: str = USER) -> Any:
    (found,) = [x for x in comparison.levels if (x.mix, x.mode, x.metric, x.job) == (mix, mode, metric, job)]
    return found


def test_goodput_and_attainment_are_those_of_the_requests(comparison: Comparison) -> None:
    assert level(comparison, "both", "exclusive", "goodput").value == pytest.approx(10.0, rel=1e-3)
    expected = {"time-slicing": (5.5, 0.55), "mps": (7.5, 0.75)}  # two blocks' values in turn
    for mode, (per_s, share) in expected.items():
        assert level(comparison, "both", mode, "goodput").value == pytest.approx(per_s, rel=0.01)
        assert level(comparison, "both", mode, "attainment").value == pytest.approx(share, rel=0.01)
        assert level(comparison, "both", mode, "errors").value == 0, "a share of zero is a value"
        assert level(comparison, "both", mode, "offered_rate").value == pytest.approx(10, rel=1e-3)
    assert level(comparison, "both", "mps", "latency_p50").value == pytest.approx(0.1)


def test_the_job_is_outside_stp_and_takes_no_turn(comparison: Comparison) -> None:
    """ResNet alone is left: its progress is the STP, and nobody else has a turn."""
    assert level(comparison, "both", "mps", "stp", job="").value == pytest.approx(0.7, rel=0.02)
    assert level(comparison, "both", "exclusive", "stp", job="").value == 1
    assert level(comparison, "both", "exclusive", "rate", "resnet50-training").value == pytest.approx(1000)
    assert {job.job for cell in comparison.cells for job in cell.jobs} == {"resnet50-training"}
    alone = level(comparison, "users", "mps", "stp", job="")
    assert alone.value is None
    assert "no job of this mix works in a closed loop" in alone.reason


def test_goodput_is_a_primary_question_of_its_mix(comparison: Comparison) -> None:
    primary = [row for row in comparison.contrasts if row.family == "primary" and row.trials == "all"]
    asked = {(row.mix, row.metric, row.job, row.mode, row.baseline) for row in primary}
    pairs = [("time-slicing", "exclusive"), ("mps", "exclusive"), ("mps", "time-slicing")]
    goodput = {(mix, "goodput", USER, *pair) for mix in ("both", "users") for pair in pairs}
    assert asked == goodput | {("both", "stp", "", *pair) for pair in pairs}
    (row,) = [row for row in primary if (row.mix, row.metric, row.baseline) == ("both", "goodput", "time-slicing")]
    assert row.ratio == pytest.approx(((8 / 6) * (7 / 5)) ** 0.5, rel=0.01)
    assert row.verdict == "better"


def test_the_answer_begins_with_the_goodput_and_goes_on_with_the_others(comparison: Comparison) -> None:
    both, users = (each.text for each in comparison.answers)
    assert f"the users of {USER} get most answers within the SLO from mps: 7.48 requests/s" in both
    assert "ahead of every other mode (next is time-slicing" in both
    assert both.index("the users of") < both.index("the other jobs: taking turns does best")
    assert "the worst p99 of the mix is" in both
    assert "the other jobs" not in users


def test_where_nobody_asked_for_anything_the_answer_says_so(tmp_path: Path) -> None:
    def none(_trial: Trial, _window: Released) -> Mapping[str, Any]:
        return {"scheduled_s": [], "sent_s": [], "done_s": [], "status": [], "items": []}

    idle = analyse(make_run(tmp_path, Recipe(plan_text=MIXED, requests=none)))
    assert f"the goodput of {USER} is not known" in idle.answers[0].text
    assert NO_REQUEST in idle.answers[0].text
    assert "other jobs: taking turns does best" in idle.answers[0].text


def test_energy_and_money_of_work_are_not_told_where_the_device_served_users_too(comparison: Comparison) -> None:
    work = "resnet50-training"
    quantities = ((ENERGY, ""), (EDP, ""), (UNIT_ENERGY, work), (UNIT_COST, work))
    for mode in ("exclusive", "time-slicing", "mps"):
        values = [level(comparison, "both", mode, metric.name, job).value for metric, job in quantities]
        assert values == [None] * len(quantities)
