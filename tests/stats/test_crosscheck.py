import pytest

from bench.stats.crosscheck import sign_flip_p, signed_rank_p, smallest_possible_p


def test_five_agreeing_blocks_can_never_reach_the_level() -> None:
    assert smallest_possible_p(5) == 0.0625
    assert smallest_possible_p(6) == 0.03125


@pytest.mark.parametrize("n", [3, 6, 10])
def test_both_tests_reach_their_floor_when_all_blocks_agree(n: int) -> None:
    a, b = [1.1 + 0.01 * block for block in range(n)], [1.0] * n
    assert sign_flip_p(a, b) == pytest.approx(smallest_possible_p(n))
    assert signed_rank_p(a, b) == pytest.approx(smallest_possible_p(n))


def test_sign_flip_counts_patterns_at_least_as_extreme() -> None:
    # logs 3, 2, -1: of the 8 sign patterns, |sum| >= 4 holds for 6, 4 and their mirrors
    e = 2.718281828459045
    assert sign_flip_p([e**3, e**2, 1], [1, 1, e]) == pytest.approx(4 / 8)


def test_more_patterns_than_can_be_enumerated_are_drawn_by_seed() -> None:
    a, b = [1.1 + 0.01 * block for block in range(20)], [1.0] * 20
    p = sign_flip_p(a, b, seed=1)
    assert p is not None
    assert 0 < p <= 1e-3
    assert p == sign_flip_p(a, b, seed=1)


def test_blocks_without_difference() -> None:
    assert signed_rank_p([1, 1, 2, 3], [1, 1, 1, 1]) == signed_rank_p([2, 3], [1, 1])
    assert signed_rank_p([1, 1], [1, 1]) is None
    assert sign_flip_p([1, 1], [1, 1]) == 1


def test_no_block() -> None:
    assert sign_flip_p([], []) is None
    assert signed_rank_p([], []) is None
    with pytest.raises(ValueError, match="at least one block"):
        smallest_possible_p(0)
