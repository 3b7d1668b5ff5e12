"""What every comparison with a plain loop does with its two steps, whatever they are."""

import math
import re

import pytest
from scripts import load

SIDE_BY_SIDE = load("side_by_side")


def test_steps_alternate_so_that_a_drift_meets_both_alike() -> None:
    done: list[str] = []
    options = SIDE_BY_SIDE.option_parser(None).parse_args(["--device", "cpu", "--rounds", "2", "--seconds", "0"])
    SIDE_BY_SIDE.compare("job", lambda: done.append("A"), lambda: done.append("B"), options)
    assert "".join(done) == "ABBA" * 3  # the first round warms up


@pytest.mark.parametrize(("own_costs", "plain_costs", "reached"), [(1, 10, True), (10, 1, False)])
def test_speed_below_the_target_is_told(
    own_costs: int, plain_costs: int, reached: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--device", "cpu", "--rounds", "3", "--seconds", "0.02", "--cpu-time"]
    options = SIDE_BY_SIDE.option_parser(None).parse_args(given)

    def step_of(cost: int) -> object:
        return lambda: sum(range(cost * 10_000))

    assert SIDE_BY_SIDE.compare("job", step_of(own_costs), step_of(plain_costs), options) is reached
    line = re.fullmatch(
        r"job: ([\d.]+) of the plain loop, 95 % interval [\d.]+ to [\d.]+\n", capsys.readouterr().out
    )
    assert line is not None
    assert (float(line[1]) > 1) is reached


def test_interval_is_the_t_interval_of_logarithms() -> None:
    low, ratio, high = SIDE_BY_SIDE.interval([-0.1, 0.0, 0.1])
    half = 4.302653 * 0.1 / math.sqrt(3)  # t(0.975, 2), and a standard deviation of 0.1
    assert (math.log(low), ratio, math.log(high)) == pytest.approx((-half, 1.0, half))
