"""When one mode is called better than another in several quantities at once, and when that is not shown."""

import pytest

from bench.analysis.dominance import Standing, standings
from bench.analysis.levels import Level


def level(metric: str, value: float | None, half_width: float | None = 0.05) -> Level:
    if value is None or half_width is None:
        return Level("mix", "mode", metric, "", "", value, None, None, 1, None)
    return Level("mix", "mode", metric, "", "", value, value - half_width, value + half_width, 6, None)


def point(stp: float, antt: float, half_width: float | None = 0.05) -> tuple[Level, Level]:
    return level("stp", stp, half_width), level("antt", antt, half_width)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (point(1.5, 1.5), Standing.DOMINATED),
        (point(1.05, 1.5), Standing.BY_ESTIMATE),  # the intervals of STP overlap
        (point(1.5, 1.95), Standing.BY_ESTIMATE),  # those of ANTT do
        (point(1.5, 1.5, None), Standing.BY_ESTIMATE),  # a single block has no interval
        (point(1.0, 1.5), Standing.BY_ESTIMATE),  # as good in one, better in the other
        (point(1.5, 2.5), Standing.UNBEATEN),  # one gained, one lost
        (point(0.5, 2.5), Standing.UNBEATEN),
        (point(1.0, 2.0), Standing.UNBEATEN),
    ],
)
def test_a_mode_is_held_against_another(other: tuple[Level, Level], expected: Standing) -> None:
    assert standings({"own": point(1.0, 2.0), "other": other})["own"] is expected


def test_the_worst_that_any_other_mode_shows_counts() -> None:
    found = standings({"own": point(1.0, 2.0), "near": point(1.01, 1.99), "far": point(1.9, 1.1)})
    assert found == {
        "own": Standing.DOMINATED,
        "near": Standing.DOMINATED,
        "far": Standing.UNBEATEN,
    }


def test_a_mode_alone_is_unbeaten_and_a_missing_value_is_refused() -> None:
    assert standings({"own": point(1.0, 2.0)}) == {"own": Standing.UNBEATEN}
    with pytest.raises(ValueError, match="stp of mode in mix"):
        standings({"own": point(1.0, 2.0), "other": (level("stp", None), level("antt", 1.0))})
