import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats.multiplicity import benjamini_hochberg, holm

families = st.lists(st.none() | st.floats(0, 1), max_size=10)


def test_both_agree_with_r() -> None:
    # R 4.2.2: p.adjust(p, "holm"), p.adjust(p, "BH")
    p = [0.2, 0.0002, 0.012, 0.5, 0.013, 0.04]
    assert holm(p) == pytest.approx([0.4, 0.0012, 0.06, 0.5, 0.06, 0.12])
    assert benjamini_hochberg(p) == pytest.approx([0.24, 0.0012, 0.026, 0.5, 0.026, 0.06])


def test_a_member_without_a_p_value_keeps_its_seat() -> None:
    assert holm([0.01, None, 0.02]) == [pytest.approx(0.03), None, pytest.approx(0.04)]
    assert benjamini_hochberg([0.01, None]) == [pytest.approx(0.02), None]


@given(families)
def test_adjusting_never_makes_a_p_value_smaller_and_keeps_the_order(family: list[float | None]) -> None:
    for adjust in (holm, benjamini_hochberg):
        adjusted = adjust(family)
        pairs = [(p, q) for p, q in zip(family, adjusted, strict=True) if p is not None and q is not None]
        assert [p is None for p in family] == [q is None for q in adjusted]
        assert all(p <= q * (1 + 1e-12) and q <= 1 for p, q in pairs)
        assert [q for _, q in sorted(pairs)] == sorted(q for _, q in pairs)


@given(families)
def test_holm_never_calls_more_than_benjamini_hochberg(family: list[float | None]) -> None:
    strict, lenient = holm(family), benjamini_hochberg(family)
    assert all(
        q >= r * (1 - 1e-12) for q, r in zip(strict, lenient, strict=True) if q is not None and r is not None
    )


@pytest.mark.parametrize("p", [math.nan, -0.1, 1.1])
def test_what_is_no_probability_is_refused(p: float) -> None:
    for adjust in (holm, benjamini_hochberg):
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            adjust([0.5, p])
