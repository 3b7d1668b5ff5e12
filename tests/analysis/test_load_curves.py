"""Latency by offered load: which mixes make a curve, and what a search adds to it."""

from pathlib import Path

import pytest
from loads import SERVER, plan, slower_with_load
from synthetic import Recipe, make_run

from bench.analysis.load import LoadCurve, load_curves
from bench.analysis.summary import analyse
from bench.store.decision import Calibration, JobRate


def curves(results: Path, text: str, calibration: Calibration | None = None) -> tuple[LoadCurve, ...]:
    found = analyse(make_run(results, Recipe(plan_text=text, requests=slower_with_load)))
    return load_curves(found.plan, found.levels, found.counted, calibration)


def searched(job: str) -> Calibration:
    probes = [{"rate_per_s": rate, "attainment": share} for rate, share in ((40.0, 0.9), (20.0, 1.0))]
    rate = JobRate(job=job, load=0.5, slo_s=0.1, maximum_per_s=20.0, rate_per_s=10.0, mode_label="exclusive",
                   search={"probes": probes})  # fmt: skip
    return Calibration(simulated=True, jobs=(rate,))


def test_a_curve_rises_with_the_load_in_every_mode(tmp_path: Path) -> None:
    (curve,) = curves(tmp_path, plan(20, 5, 10))
    assert (curve.job, curve.beside, curve.slo_s) == (SERVER, ("bert-base-training",), 0.1)
    assert curve.tried == ()
    for mode in ("exclusive", "mps"):
        own = [point for point in curve.points if point.mode == mode]
        assert [round(point.offered_per_s) for point in own] == [5, 10, 20]
        medians = [point.p50_s.value for point in own if point.p50_s]
        assert medians == pytest.approx([0.005, 0.010, 0.020])


def test_two_loads_are_no_curve_unless_a_search_tried_more(tmp_path: Path) -> None:
    for name in ("without", "with"):
        (tmp_path / name).mkdir()
    assert curves(tmp_path / "without", plan(5, 10)) == ()
    (curve,) = curves(tmp_path / "with", plan(5, 10), searched(f"{SERVER} rate=5"))
    assert curve.tried == ((20.0, 1.0), (40.0, 0.9))
