import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats.rounding import bare, with_half_width, with_limits


@pytest.mark.parametrize(
    ("value", "half_width", "text"),
    [
        (49.937, 1.03, "49.9 ± 1.0"),
        (612.34, 0.0456, "612.340 ± 0.046"),
        (0.93594, 0.0105, "0.936 ± 0.011"),
        (12345.6, 98.7, "12346 ± 99"),
        (12345.6, 1234.0, "12300 ± 1200"),
        (1.23456, 0.0996, "1.23 ± 0.10"),
        (-0.001, 1.0, "0.0 ± 1.0"),
        (5.0, None, "5.00"),
        (5.0, 0.0, "5.00"),
    ],
)
def test_value_to_the_decimal_of_its_half_width(value: float, half_width: float | None, text: str) -> None:
    assert with_half_width(value, half_width) == text


def test_limits_to_the_decimal_their_half_width_earns() -> None:
    assert with_limits(0.93594, 0.92548, 0.94653) == "0.936 [0.925, 0.947]"
    assert with_limits(1.5, None, None) == "1.50"
    assert with_limits(1.5, 1.5, 1.5) == "1.50"


def test_a_narrow_interval_earns_no_more_than_five_digits() -> None:
    assert with_limits(0.999973, 0.999942, 1.000004) == "1.0000 [0.9999, 1.0000]"
    assert with_limits(305.7151, 305.6824, 305.7478) == "305.72 [305.68, 305.75]"
    assert with_limits(-0.0123456, -0.0123459, -0.0123453) == "-0.012346 [-0.012346, -0.012345]"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0012345, "0.00123"), (12.345, "12.3"), (999.6, "1000"), (1234567, "1230000")],
)
def test_bare_values_keep_three_digits(value: float, text: str) -> None:
    assert bare(value) == text


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_rounding_loses_less_than_a_tenth_of_the_half_width(value: float, half_width: float) -> None:
    shown, shown_half_width = (float(part) for part in with_half_width(value, half_width).split(" ± "))
    assert abs(shown - value) <= 0.0501 * half_width + 1e-9
    assert shown_half_width == pytest.approx(half_width, rel=0.051)


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        with_half_width(1.0, math.inf)
