import pytest
from pydantic import ValidationError

from bench.plan.mode import GPU_SHARING_MODES, MODE_ADAPTER, MODE_TYPES, Mps, MpsEqual, TimeSlicing
from bench.plan.model import TIMINGS, Job, Mix, Plan

MIX = Mix(name="m", jobs=(Job(workload="resnet50-training"),))


def plan_of(*modes, baseline=None):
    return Plan(name="p", modes=modes, mixes=(MIX,), timing=TIMINGS["smoke"], blocks=1, baseline=baseline)


def test_labels_name_what_differs_from_the_catalog():
    assert Job(workload="w").label == "w"
    assert Job(workload="w", parameters={"b": 2, "a": True}).label == "w a=True b=2"


LABELS = [
    (TimeSlicing(time_slice="short"), "time-slicing short", "time-slicing-short"),
    (Mps(active_thread_percentage=50), "mps 50%", "mps-50pct"),
    (Mps(active_thread_percentage=(70, 30)), "mps 70%+30%", "mps-70pct+30pct"),
    (Mps(memory_limit_gib=20), "mps 20gib", "mps-20gib"),
    (Mps(active_thread_percentage=(70, 30), memory_limit_gib=(48, 1.5)), "mps 70%+30% 48gib+1.5gib",
     "mps-70pct+30pct-48gib+1.5gib"),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "label", "slug"), LABELS)
def test_a_mode_is_named_with_its_options_and_survives_a_record(mode, label, slug):
    assert (mode.label, mode.slug) == (label, slug)
    assert MODE_ADAPTER.validate_json(MODE_ADAPTER.dump_json(mode)) == mode


def test_equal_jobs_are_told_apart_by_number():
    jobs = (Job(workload="w"), Job(workload="w", parameters={"b": 2}), Job(workload="w"))
    assert Mix(name="m", jobs=jobs).tenants == ("w #1", "w b=2", "w #2")


def test_the_reference_is_the_baseline_or_time_slicing_or_the_first():
    assert plan_of(Mps(), TimeSlicing()).reference == "time-slicing"
    assert plan_of(Mps(), TimeSlicing(), baseline="mps").reference == "mps"
    assert plan_of(Mps(), MpsEqual()).reference == "mps"
    assert plan_of(MpsEqual(), Mps(), baseline="mig").reference == "mps-equal"  # --mode left the baseline out
    assert plan_of(Mps()).reference is None


def test_nothing_of_a_plan_can_be_changed():
    plan = plan_of(Mps())
    with pytest.raises(ValidationError, match="frozen"):
        plan.blocks = 3
    with pytest.raises(ValidationError, match="frozen"):
        plan.modes[0].active_thread_percentage = 3


def test_the_modes_in_their_order():
    assert list(MODE_TYPES) == [
        "exclusive", "time-slicing", "mps", "mps-equal", "mps-partitions", "mig", "mig-mps", "cpu-shared",
        "as-found",
    ]  # fmt: skip
    assert GPU_SHARING_MODES == ("time-slicing", "mps", "mps-equal", "mig")  # the common ones
    assert Mps(active_thread_percentage=50).slug == "mps-50pct"
