import pytest

from bench import errors
from bench.errors import BenchError, DeviceError, LaunchError, ModeUnavailable, PlanError, RecordError, SetupError

FAMILY = [kind for kind in vars(errors).values() if isinstance(kind, type)]


def test_there_is_one_family_and_set_up_is_told_from_measuring():
    assert all(issubclass(kind, BenchError) for kind in FAMILY)
    refused_before_anything_is_touched = {kind for kind in FAMILY if issubclass(kind, SetupError)}
    assert refused_before_anything_is_touched == {SetupError, PlanError, ModeUnavailable}
    assert {DeviceError, RecordError, LaunchError} <= set(FAMILY)


@pytest.mark.parametrize(("problems", "count"), [(["a: one"], "1 problem"), (["a: one", "b: two"], "2 problems")])
def test_a_plan_error_lists_all_problems_under_the_file(problems, count):
    first, *rest = str(PlanError("plan.yaml", problems)).splitlines()
    assert first == f"plan.yaml: {count}; nothing was touched"
    assert rest == [f"  {problem}" for problem in problems]
