"""Where the variation sits: the level that varies is found, and the others are said to add nothing."""

from collections.abc import Callable, Mapping
from math import log, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import PLAN, PROGRESS, SOLO, TRIAL_S, Fate, Recipe, make_run

from bench.analysis.components import Components, JobComponents
from bench.analysis.summary import analyse
from bench.launch.corun import Window
from bench.plan.mode import MODE_ADAPTER
from bench.plan.schedule import Role, Trial
from bench.store.record import Status, VisitRecord

STEP = log(1.02)
Varying = Callable[[Trial], float]
WITH_USERS = PLAN.replace("resnet50-training, bert-base-training", "resnet50-training, jupyter")


def by_launch(trial: Trial) -> float:
    """Launches of a block differ in turns, so that all blocks are alike."""
    return 1.02 if (trial.role is Role.REPEAT) == bool(trial.block % 2) else 1 / 1.02


def by_block(trial: Trial) -> float:
    return 1.02 if trial.block % 2 else 1 / 1.02


def steady(trial: Trial) -> float:
    return 1.0


def drifting(trial: Trial) -> float:
    """The window of every launch drifts alike: its parts differ, and nothing else does."""
    return 0.1


def rates(varying: Varying) -> Callable[[Trial, int], float]:
    def rate(trial: Trial, slot: int) -> float:
        shared = trial.role in (Role.MIX, Role.REPEAT)
        own = PROGRESS[trial.mode.mode] * varying(trial) if shared else 1.0
        return SOLO[trial.mix.jobs[slot].workload] * own

    return rate


def users(trial: Trial, window: Window) -> Mapping[str, Any]:
    due_s = np.arange(window.start_s, window.stop_s, 0.5)
    columns = {"scheduled_s": due_s, "sent_s": due_s, "done_s": due_s + 0.2}
    return {**columns, "items": np.ones(len(due_s)), "status": np.full(len(due_s), "ok")}


def found(folder: Path, **recipe: Any) -> Components | None:
    return analyse(make_run(folder, Recipe(**recipe))).components


def of_both_jobs(folder: Path, **recipe: Any) -> tuple[Components, JobComponents]:
    """Return the components, and those of the first job, which the other shares: its rate varies alike."""
    components = found(folder, **recipe)
    assert components is not None
    first, second = components.jobs
    assert [each or 0 for each in first.spreads] == pytest.approx([each or 0 for each in second.spreads], rel=0.1)
    return components, first


def test_a_spread_of_launches_is_found_in_launches_alone(tmp_path: Path) -> None:
    components, job = of_both_jobs(tmp_path, rate=rates(by_launch))
    assert (components.mix, components.mode, components.n_blocks) == ("pair", "time-slicing", 6)
    assert job.spreads == (None, pytest.approx(sqrt(2) * STEP), None)
    assert job.shares == (0, 1, 0)
    assert job.best == (1.0, None)
    assert components.best_window_s(job) == 24
    assert components.advice(job) == (
        "longer windows would narrow intervals by 0 % at most; more launches or blocks go further"
    )


def test_a_spread_of_blocks_is_found_in_blocks_alone(tmp_path: Path) -> None:
    components, job = of_both_jobs(tmp_path, rate=rates(by_block))
    assert job.spreads == (None, None, pytest.approx(sqrt(6 / 5) * STEP))
    assert job.shares == (0, 0, 1)
    assert components.advice(job) == "nothing within a block varies"


def test_a_spread_within_windows_is_found_in_their_parts_alone(tmp_path: Path) -> None:
    components, job = of_both_jobs(tmp_path, rate=rates(steady), drift=drifting)
    part, *above = job.spreads
    assert above == [None, None]
    middles_s = 30 + 24 * np.arange(0.5, 5)  # of 150 s of drift, of which 30 are before the window
    assert part == pytest.approx(np.std(np.log(1 + 0.1 * middles_s / 150), ddof=1), rel=0.1)
    assert job.variances is not None
    assert job.variances.unbiased[1] < 0
    assert components.best_window_s(job) is None
    assert components.advice(job).startswith("longer windows would narrow intervals as more launches")


def test_of_two_levels_each_gets_its_own(tmp_path: Path) -> None:
    components, job = of_both_jobs(tmp_path, rate=rates(by_launch), drift=drifting)
    assert job.variances is not None
    part, launch, _ = job.variances.unbiased
    assert part == pytest.approx(0.0239**2, rel=0.2)
    assert launch == pytest.approx(2 * STEP**2 - part / 5, rel=0.01)
    assert job.best[0] == pytest.approx(sqrt(80 / 24 * part / launch))
    assert components.best_window_s(job) == 48
    most = 100 * (1 - sqrt(launch / (launch + part / 5)))
    assert f"would narrow intervals by {most:.2f} % at most;" in components.advice(job)


def test_nothing_that_varies_is_said_to(tmp_path: Path) -> None:
    components, job = of_both_jobs(tmp_path, rate=rates(steady))
    assert job.spreads == (None, None, None)
    assert job.shares == ()
    assert components.advice(job) == "nothing within a block varies"


def test_equal_jobs_are_one(tmp_path: Path) -> None:
    plan = PLAN.replace("bert-base-training", "resnet50-training")
    components = found(tmp_path, plan_text=plan, rate=rates(by_launch))
    assert components is not None
    (job,) = components.jobs
    assert job.spreads == (None, pytest.approx(sqrt(2) * STEP), None)


def test_only_blocks_with_both_launches_count(tmp_path: Path) -> None:
    def status(trial: Trial) -> Fate:
        lost = (trial.block, trial.role) in {(2, Role.REPEAT), (5, Role.MIX)}
        return (Status.FAILED, "crashed") if lost else (Status.OK, None)

    components = found(tmp_path, status=status)
    assert components is not None
    assert components.n_blocks == 4


def test_a_block_that_was_measured_once_more_counts_by_its_repeat(tmp_path: Path) -> None:
    def spoilt(trial: Trial) -> float:
        return by_launch(trial) * (10 if trial.block == 2 and not trial.longer else 1)

    components, job = of_both_jobs(tmp_path, rate=rates(spoilt), repeated=(2,))
    assert components.n_blocks == 6
    assert job.spreads == (None, pytest.approx(sqrt(2) * STEP), None)


def test_a_model_has_the_costs_that_a_dry_run_assumes(tmp_path: Path) -> None:
    components = found(tmp_path)
    assert components is not None
    launch_s, settle_s, window_s = 2 * 20 + 10, 30, 120
    block_s = 6 * (settle_s + window_s) + 9 * 20 + 4 * 10
    assert components.costs_s == (24, launch_s + settle_s, block_s - 2 * (launch_s + settle_s + window_s))


def test_a_device_has_the_costs_that_were_recorded(tmp_path: Path) -> None:
    run = make_run(tmp_path, Recipe(simulated=False))
    for block in range(1, 7):
        for mode, enter_s in (("exclusive", 10.0), ("time-slicing", 2.0), ("time-slicing", 2.0)):
            known, began_at = MODE_ADAPTER.validate_python({"mode": mode}), str(len(list(run.visits())))
            run.keep_visit(
                VisitRecord(block=block, mode=known, mode_label=mode, simulated=False, began_at=began_at,
                            enter_s=enter_s, leave_s=1.0, calls=())
            )  # fmt: skip
    components = analyse(run).components
    assert components is not None
    assert components.costs_s == (24, TRIAL_S + 3 - 120, pytest.approx(4 * TRIAL_S + 11))


def test_a_job_of_users_has_none_and_says_why(tmp_path: Path) -> None:
    components = found(tmp_path, plan_text=WITH_USERS, requests=users)
    assert components is not None
    job = components.jobs[1]
    assert (job.variances, job.spreads, job.shares) == (None, (), ())
    assert components.advice(job) == "the rate of this job is that of its users, in every launch"


def test_a_job_that_starved_has_none_and_says_why(tmp_path: Path) -> None:
    def rate(trial: Trial, slot: int) -> float:
        return 0.0 if slot and trial.role is Role.REPEAT else rates(by_launch)(trial, slot)

    components = found(tmp_path, rate=rate)
    assert components is not None
    assert [job.reason for job in components.jobs] == [
        None, "the job did nothing in a part of a window, and 0 has no logarithm",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "plan",
    [
        PLAN + "timing: smoke\n",
        PLAN.replace("6", "1"),
        "modes: [exclusive]\nmixes: {one: [resnet50-training]}\nblocks: 6\n",
        PLAN.replace("resnet50-training, bert-base-training", "jupyter, jupyter"),
    ],
    ids=["no A/A arm", "one block", "no sharing mode", "users alone"],
)
def test_without_nested_repeats_there_are_none(tmp_path: Path, plan: str) -> None:
    assert found(tmp_path, plan_text=plan, requests=users) is None


def test_an_arm_that_always_failed_leaves_none(tmp_path: Path) -> None:
    def status(trial: Trial) -> Fate:
        return (Status.FAILED, "crashed") if trial.role is Role.REPEAT else (Status.OK, None)

    assert found(tmp_path, status=status) is None
