"""Fits of scaling laws to series of equal jobs, and ranks of modes over many mixes, of runs with known rates."""

from pathlib import Path

import pytest
from synthetic import Recipe, make_run

from bench.analysis.series import series
from bench.analysis.summary import Comparison, analyse
from bench.plan.schedule import Role, Trial
from bench.report.write import write_report

JOB = "bert-base-batch-inference"
GAMMA, ALPHA = 500.0, 0.25
COUNTED = """
modes: [time-slicing, mps, mig]
mixes: {{replicas: [{{workload: bert-base-batch-inference, count: {counts}}}]}}
timing: smoke
"""


def amdahl(trial: Trial, slot: int) -> float:
    """Return the rate of one of n clients, so that all together follow Amdahl's law but for 0.2 %."""
    if trial.role is not Role.MIX:
        return GAMMA
    n = len(trial.mix.jobs)
    return GAMMA / (1 + ALPHA * (n - 1)) * (1.002 if (trial.block + n) % 2 else 0.998)


def counted(tmp_path: Path, counts: str) -> Comparison:
    return analyse(make_run(tmp_path, Recipe(plan_text=COUNTED.format(counts=counts), rate=amdahl)))


def test_the_law_that_made_the_data_is_found_with_its_parameters(tmp_path: Path) -> None:
    found = {one.mode: one for one in counted(tmp_path, "[1, 2, 3, 4, 5, 7]").series}
    fit = found["mps"].amdahl
    assert fit is not None
    assert fit.gamma == pytest.approx(GAMMA, abs=4 * fit.gamma_error)
    assert fit.alpha == pytest.approx(ALPHA, abs=4 * fit.alpha_error)
    assert found["mps"].preferred != "USL"
    assert [point.clients for point in found["mps"].points] == [1, 2, 3, 4, 5, 7]
    assert found["mps"].points[1].throughput.value == pytest.approx(2 * GAMMA / (1 + ALPHA), rel=0.003)


def test_mig_has_points_and_no_law(tmp_path: Path) -> None:
    mig = next(one for one in counted(tmp_path, "[1, 2, 3, 4, 5, 7]").series if one.mode == "mig")
    assert (mig.usl, mig.amdahl, len(mig.points)) == (None, None, 6)
    assert "slices" in str(mig.reason)


@pytest.mark.parametrize("counts", ["[1, 2, 3, 4, 5]", "[2, 3, 4, 5, 6, 7]"])
def test_too_few_counts_or_none_of_one_are_no_series(tmp_path: Path, counts: str) -> None:
    assert counted(tmp_path, counts).series == ()


def test_a_count_that_never_ran_takes_the_fit_away_and_says_so(tmp_path: Path) -> None:
    found = counted(tmp_path, "[1, 2, 3, 4, 5, 7]")
    (_, mps, _) = series(found.plan, [cell for cell in found.cells if cell.mix != "replicas x7"])
    assert mps.usl is None
    assert "5 numbers of clients" in str(mps.reason)


def test_the_report_shows_laws_points_and_a_figure(tmp_path: Path) -> None:
    run = make_run(tmp_path, Recipe(plan_text=COUNTED.format(counts="[1, 2, 3, 4, 5, 7]"), rate=amdahl))
    words = write_report(run).read_text(encoding="utf-8")
    assert "Laws of scaling" in words
    assert "the number of slices bounds it" in words
    assert (run.report_folder / "figures" / "scaling.pdf").is_file()
    assert (run.report_folder / "tables" / "scaling_fits.csv").is_file()


SIZES = (1, 2, 4, 8, 16, 32)
MANY = (
    "modes: [time-slicing, mps]\ntiming: smoke\nmixes:\n"
    + "".join(f"  size {size}: [{{workload: {JOB}, batch_size: {size}, count: 2}}]\n" for size in SIZES)
    + f"  fewer: [{{workload: {JOB}, batch_size: 32}}]\n"
)


def test_modes_are_ranked_over_different_workloads(tmp_path: Path) -> None:
    (ranking,) = analyse(make_run(tmp_path, Recipe(plan_text=MANY))).rankings
    ranks = dict(zip(ranking.modes, ranking.test.average_ranks, strict=True))
    assert ranking.test.workloads == len(SIZES)  # two mixes that differ in numbers alone are one workload
    assert ranks == {"mps": 1, "exclusive": 2, "time-slicing": 3}
    assert ranking.test.p_value < 0.05
    assert ranking.critical_difference is None
    assert {frozenset((pair.a, pair.b)): pair.p_adjusted for pair in ranking.pairs} == {
        frozenset(pair): pytest.approx(3 * 2 / 2**6)
        for pair in (("exclusive", "mps"), ("exclusive", "time-slicing"), ("mps", "time-slicing"))
    }


def test_few_workloads_are_not_ranked(tmp_path: Path) -> None:
    assert analyse(make_run(tmp_path, Recipe(plan_text=MANY.replace("  size 16", "  # ")))).rankings == ()


def test_the_report_shows_the_ranks(tmp_path: Path) -> None:
    run = make_run(tmp_path, Recipe(plan_text=MANY))
    words = write_report(run).read_text(encoding="utf-8")
    assert "Modes over all workloads" in words
    assert "fewer than 10 workloads" in words
