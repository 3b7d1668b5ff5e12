import numpy as np
import pytest

from bench.stats.autocorrelation import (
    autocorrelations,
    batch_means_interval,
    block_length,
    dependence,
    hac_half_width,
    ljung_box_p,
    stationary_bootstrap_half_width,
)
from bench.stats.changepoint import Behaviour, change_points, outliers, segments
from bench.stats.steady_state import judge_window, theil_sen_drift
from bench.stats.truncation import cov_window, mser5


def noise(n: int, sd: float = 0.02) -> np.ndarray:
    return np.random.default_rng(4).normal(0, sd, n)


def test_a_flat_window_is_steady() -> None:
    verdict = judge_window(10 + noise(300, 0.2))
    assert (verdict.behaviour, verdict.steady, verdict.reasons) == (Behaviour.FLAT, True, ())
    assert verdict.units == 300
    assert verdict.effective_units is not None
    assert verdict.effective_units > 200


def test_each_reason_says_where() -> None:
    late = 1 + noise(300) + 0.2 * (np.arange(300) < 60)
    assert judge_window(late).reasons == ("warm-up until unit 60 of 300",)
    assert judge_window(2.2 - late).reasons == ("slowdown until unit 60 of 300",)
    turns = 1 + noise(400) + 0.1 * (np.arange(400) // 50 % 2)
    assert judge_window(turns).reasons == ("no level holds: the last one begins at unit 350 of 400",)
    drifting = judge_window(1 + noise(300, 0.05) + 0.04 * np.arange(300) / 300)
    assert drifting.steady is False
    assert drifting.reasons[0].startswith("drifts by +")


def test_a_start_up_that_fills_half_the_window_leaves_no_level() -> None:
    late = judge_window(1 + noise(300) + 0.2 * (np.arange(300) < 200))
    assert late.behaviour is Behaviour.NO_STEADY_STATE
    assert late.reasons == ("no level holds: the last one begins at unit 200 of 300",)


def test_a_trend_within_the_noise_is_no_drift() -> None:
    verdict = judge_window(1 + noise(60, 0.2))
    assert verdict.drift is not None
    assert abs(verdict.drift) > 0.01
    assert verdict.steady


def test_the_scale_does_not_matter() -> None:
    series = 1 + noise(300) + 0.2 * (np.arange(300) < 60)
    assert judge_window(1e-4 * series).reasons == judge_window(1e6 * series).reasons


def test_a_single_stall_is_labelled_and_does_not_break_the_level() -> None:
    series = 1 + noise(300)
    series[200] = 30
    verdict = judge_window(series)
    assert verdict.steady
    assert verdict.outliers == 1


def test_equal_durations_are_steady() -> None:
    """Virtual time gives them: no spread, no correlation, and no division by it."""
    verdict = judge_window([0.1] * 100)
    assert verdict.steady
    assert (verdict.drift, verdict.correlation, verdict.effective_units) == (0, None, None)


def test_a_trend_between_equal_steps_is_seen() -> None:
    assert judge_window(np.round(np.linspace(1, 1.1, 200), 2)).steady is False


@pytest.mark.parametrize("n", [0, 1, 5, 29])
def test_too_few_units_are_not_judged(n: int) -> None:
    verdict = judge_window([1.0, 2.0] * (n // 2) + [1.0] * (n % 2))
    assert (verdict.behaviour, verdict.steady) == (None, None)
    assert verdict.reasons == (f"{n} units, 30 are needed",)


def test_long_turns_seen_briefly_are_not_called_steady() -> None:
    verdict = judge_window(1 + noise(100) + 0.1 * (np.arange(100) // 12 % 2))
    assert verdict.steady is None
    assert "too few to average" in verdict.reasons[0]


def test_long_series_are_judged_in_bins() -> None:
    found = segments(1 + noise(9_000) + 0.1 * (np.arange(9_000) < 3_000))
    assert found is not None
    assert found.bin_units == 5
    assert found.behaviour is Behaviour.WARM_UP
    assert found.steady_start == pytest.approx(3_000, abs=5)


def test_change_points_are_the_best_of_all_cuts() -> None:
    """Against every way to cut a short series into segments of two or more."""
    series = np.array([5.0, 5.2, 4.9, 5.1, 8.0, 8.3, 7.9, 5.0, 5.1, 4.8])
    z = (series - np.median(series)) / (1.4826 * np.median(np.abs(series - np.median(series))))

    def cost(starts: tuple[int, ...]) -> float:
        parts = np.split(z, starts[1:])
        return sum(len(part) * np.log(part.var() + 1e-9) + 3.0 for part in parts)

    def cuts(begin: int) -> list[tuple[int, ...]]:
        longer = [(begin, *rest) for stop in range(begin + 2, len(z) - 1) for rest in cuts(stop)]
        return [(begin,), *longer]

    assert tuple(change_points(series, penalty=3.0)) == min(cuts(0), key=cost)


def test_little_or_no_data_has_no_answer() -> None:
    assert mser5(range(49)) is None
    assert cov_window([1.0] * 9) is None
    assert theil_sen_drift([1.0, 2.0]) is None
    assert theil_sen_drift([-1.0, 0.0, 1.0]) is None
    assert segments([1.0] * 29) is None
    assert outliers([1.0] * 59) == []
    assert change_points([]) == [0]
    assert change_points([3.0]) == [0]
    assert autocorrelations([1.0, 2.0], 2) == []
    assert dependence([1.0] * 100) is None
    assert dependence(range(39)) is None
    assert ljung_box_p([1.0] * 100, 5) is None
    assert batch_means_interval(range(19)).value is None
    assert hac_half_width([1.0] * 5, 5) is None
    assert block_length([1.0] * 100) is None
    assert stationary_bootstrap_half_width(range(39)) is None


def test_a_series_that_never_calms_down_gives_its_calmest_window() -> None:
    window = cov_window([1.0, 9.0] * 10, k=5)
    assert window is not None
    assert not window.reached


def test_a_start_up_that_fills_the_series_is_no_valid_truncation() -> None:
    cut = mser5(np.linspace(2, 1, 200))
    assert cut is not None
    assert not cut.valid


def test_ljung_box_is_that_of_r() -> None:
    """R, Box.test: X-squared = 34.40047747, p = 1.98149865e-06."""
    series = [10, 11, 12, 11, 10, 9, 8, 9, 10, 11, 12, 13, 12, 11, 10, 9, 8, 7, 8, 9]
    assert ljung_box_p(series, 5) == pytest.approx(1.98149865e-6)


def test_a_trend_is_the_median_of_slopes() -> None:
    drift = theil_sen_drift([10.0, 10.02, 10.01, 10.03, 10.04, 10.03, 10.06, 10.05, 10.07, 10.08])
    assert drift is not None
    assert (drift.slope, drift.low, drift.high) == pytest.approx((0.008, 0.006, 0.01))
    assert drift.relative == pytest.approx(0.0071748879)


@pytest.mark.parametrize("noise", [0.0005, 0.002, 0.02])
@pytest.mark.parametrize("drift", [0.03, 0.05])
def test_a_drift_is_found_however_quiet_the_steps_are(noise, drift):
    """Without noise to hide it, a drift correlates neighbours; that alone must not keep it from being judged."""
    quiet = 1 + noise * np.random.default_rng(5).standard_normal(150)
    assert judge_window(quiet * np.linspace(1, 1 + drift, 150)).steady is False
