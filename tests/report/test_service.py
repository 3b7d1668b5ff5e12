"""The table of jobs that serve users, and two runs of such jobs held against each other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from synthetic import Recipe, make_run

from bench.analysis.repeated import repetition
from bench.analysis.summary import Comparison, analyse
from bench.launch.corun import Window
from bench.plan.schedule import Trial
from bench.report.sections import job_table
from bench.report.service import service_table
from bench.report.write import write_report

PLAN = """
name: users
modes: [mps]
mixes: {both: [resnet50-training, jupyter]}
blocks: 2
"""


def one_a_second(_trial: Trial, window: Window) -> Mapping[str, Any]:
    """One request a second: each takes 0.2 s, and the last quarter of them fails at once."""
    due_s = np.arange(window.start_s, window.stop_s, 1.0)
    ok = due_s < window.stop_s - (window.stop_s - window.settle_s) / 4
    columns = {"scheduled_s": due_s, "sent_s": due_s, "done_s": due_s + 0.2, "items": np.ones(len(due_s))}
    return {**columns, "status": np.where(ok, "ok", "error")}


def users(results: Path, plan: str = PLAN) -> Comparison:
    return analyse(make_run(results, Recipe(plan_text=plan, requests=one_a_second)))


def test_the_table_tells_what_users_asked_for_and_got(tmp_path: Path) -> None:
    comparison = users(tmp_path)
    table = service_table(comparison)
    assert table is not None
    head = ["mix", "job", "mode", "blocks", "SLO (s)", "offered (/s)", "goodput (/s)", "attainment", "errors"]
    assert [column.title for column in table.columns] == [*head, "median (ms)", "p99 (ms)"]
    got = ["2", "1", "1.00", "0.750", "0.750", "0.250", "200"]
    rows = {row[2]: [*row[3:10]] for row in table.rows}
    assert rows == {"exclusive": got, "mps": got}
    assert [row[10][0] for row in table.rows] == ["\N{EN DASH}"] * 2
    assert "p99 needs" in " ".join(table.notes)
    assert {row[1] for row in job_table(comparison).rows} == {"resnet50-training"}


def test_a_share_has_no_limit_above_all_or_below_none(tmp_path: Path) -> None:
    def lucky_but_once(trial: Trial, window: Window) -> Mapping[str, Any]:
        columns = one_a_second(trial, window)
        return columns if trial.block == 1 else {**columns, "status": np.full(len(columns["items"]), "ok")}

    plan = PLAN.replace("blocks: 2", "blocks: 4")
    found = analyse(make_run(tmp_path, Recipe(plan_text=plan, requests=lucky_but_once))).levels
    shares = {
        level.metric: level for level in found if level.metric in ("attainment", "errors") and level.mode == "mps"
    }
    assert (shares["attainment"].value, shares["attainment"].ci_high) == (1 - 0.25 / 4, 1)
    assert (shares["errors"].value, shares["errors"].ci_low) == (0.25 / 4, 0)


def test_the_methods_tell_what_is_asked_of_users_in_the_primary_family(tmp_path: Path) -> None:
    run = make_run(tmp_path, Recipe(plan_text=PLAN, requests=one_a_second))
    methods = write_report(run).with_name("report.md").read_text(encoding="utf-8").partition("## Methods")[2]
    assert "in stp and in the goodput of each job that serves users, corrected by Holm" in methods
    assert "\n**Requests.** Jobs that serve users" in methods


def test_a_run_without_users_has_no_such_table(tmp_path: Path) -> None:
    assert service_table(users(tmp_path, PLAN.replace(", jupyter", ""))) is None


def test_what_may_be_zero_is_no_repeat_of_anything(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    found = repetition(users(tmp_path / "a"), users(tmp_path / "b"))
    metrics = {repeat.metric for repeat in found.repeats if repeat.job == "jupyter"}
    assert metrics == {"rate", "goodput", "latency_p50"}
