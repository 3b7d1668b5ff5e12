import string

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import PlanError, SetupError
from bench.plan.catalog import load_catalog
from bench.plan.load import PLAN_KEYS, find_plan, load_plan, read_plan
from bench.plan.mode import Mig, Mps, TimeSlicing
from bench.plan.model import PRIMARY_METRICS, TIMINGS, Plan

GOOD = "modes: [time-slicing, mps]\nmixes: {pair: [resnet50-training, bert-base-training]}\n"
EVERYTHING_WRONG = """
modes: [mpss, {mode: mps, active_thread_percentage: 120}, {mode: mps, percent: 5}, {mode: mig, layout: 3g}, 7]
mixes:
  a: [resnet50-trainin, {workload: resnet50-training, batch_sise: 8, model: vgg}, {count: 2}]
  b: []
timing: standart
blocks: 0
baseline: time-slicng
primary: [stpp]
blokcs: 3
"""
WHAT_IS_WRONG = [
    ("", "unknown key 'blokcs'", "did you mean 'blocks'?"),
    ("modes[0]", "unknown mode 'mpss'", "did you mean 'mps'?"),
    ("modes[1].active_thread_percentage", "less than or equal to 100", "not 120"),
    ("modes[2]", "unknown key 'percent'", "known: active_thread_percentage, memory_limit_gib, mode"),
    ("modes[3].layout", "should match", "not '3g'"),
    ("modes[4]", "must be a mode's name", "not 7"),
    ("mixes.a[0]", "unknown workload 'resnet50-trainin'", "did you mean 'resnet50-training'?"),
    ("mixes.a[1]", "unknown key 'batch_sise'", "did you mean 'batch_size'?"),
    ("mixes.a[1].model", "must be one of resnet50", "not 'vgg'"),
    ("mixes.a[2]", "must be a workload's name", "not {'count': 2}"),
    ("mixes.b", "must be a list of jobs", "not []"),
    ("timing", "unknown value 'standart'", "did you mean 'standard'?"),
    ("blocks", "from 1 to 1000", "not 0"),
    ("primary", "unknown value 'stpp'", "did you mean 'stp'?"),
    ("baseline", "'time-slicng' is not a sharing mode of this plan", "it has: mps"),
]


def test_defaults(read):
    plan = read(GOOD)
    assert plan.modes == (TimeSlicing(), Mps())
    assert [job.workload for job in plan.mixes[0].jobs] == ["resnet50-training", "bert-base-training"]
    assert (plan.timing, plan.blocks) == (TIMINGS["standard"], 10)
    assert (plan.primary, plan.baseline, plan.reference) == (("stp",), None, "time-slicing")


def test_every_problem_is_told_at_once_with_its_place_and_the_nearest_name(problems):
    found = problems(EVERYTHING_WRONG)
    for place, what, more in WHAT_IS_WRONG:
        assert any(text.startswith(place) and what in text and more in text for text in found), (place, found)
    assert len(found) == len(WHAT_IS_WRONG)


@pytest.mark.parametrize(
    ("given", "place", "what"),
    [
        ("", "mixes.a[0]", "one of load, rate, trace; write rate: 100.0 or load: 0.6 or trace: arrivals.csv"),
        (", rate: 5, load: 0.5", "mixes.a[0]", "takes exactly one of load, rate"),
        (", load: 0", "mixes.a[0].load", "must be above 0 and at most 1, not 0"),
        (", load: 1.1", "mixes.a[0].load", "must be above 0 and at most 1, not 1.1"),
        (", rate: 0", "mixes.a[0].rate", "must be positive"),
        (", rate: fast", "mixes.a[0].rate", "must be of type float (such as 100.0), not 'fast'"),
        (", rate: 5, arrivals: often", "mixes.a[0].arrivals", "must be one of poisson, constant, bursty"),
    ],
)
def test_a_server_is_offered_one_rate(problems, given, place, what):
    (problem,) = problems(f"modes: [mps]\nmixes: {{a: [{{workload: resnet50-server{given}}}]}}\n")
    assert problem.startswith(f"{place}: ")
    assert what in problem


def test_the_message_names_file_and_number_of_problems(read):
    with pytest.raises(PlanError) as caught:
        read("blokcs: 1")
    assert str(caught.value).splitlines()[0] == "my.yaml: 3 problems; nothing was touched"
    assert isinstance(caught.value, SetupError)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "a plan is a mapping with the keys modes and mixes; it is empty"),
        ("- mps", "found list"),
        ("mps", "found str"),
        ("modes: [mps", "not valid YAML"),
        ("\x00\x01", "not valid YAML"),
        ("!!python/object:os.system x", "not valid YAML"),
        ("modes: [2001-13-45]", "not valid YAML"),
        (GOOD + "blocks: 2\nblocks: 3", "key 'blocks' is written twice"),
        ("modes: [mps]\nmixes: {a: [{workload: x, workload: y}]}", "key 'workload' is written twice"),
        ("[" * 2000, "nested far too deeply"),
        ("modes: [mps]\nmixes:\n  ? [a]\n  : [b]", "unhashable key"),
    ],
)
def test_what_is_no_plan_at_all(problems, text, problem):
    (found,) = problems(text)
    assert problem in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("modes: {}\nmixes: {a: [resnet50-training]}", "modes: is {}; it must be a list of modes"),
        ("modes: []\nmixes: {a: [resnet50-training]}", "modes: is []"),
        ("modes: [mps]\nmixes: [a]", "mixes: is ['a']; it must be a mapping"),
        ("modes: [mps]\nmixes: {a: resnet50-training}", "mixes.a: must be a list of jobs"),
        ("modes: [mps, mps]\nmixes: {a: [resnet50-training]}", "modes: 'mps' is listed 2 times"),
        ("modes: [{mode: [mps]}]\nmixes: {a: [resnet50-training]}", "modes[0]: unknown mode ['mps']"),
        ("modes: [{mode: mps, active_thread_percentage: 50.0}]\nmixes: {a: [resnet50-training]}", "not 50.0"),
        ("modes: [mps]\nmixes: {a: [{workload: {}}]}", "mixes.a[0]: unknown workload {}"),
        ("modes: [mps]\nmixes: {'': [resnet50-training]}", "mixes: must be one line of text"),
        ('modes: [mps]\nmixes: {"a\\nb": [resnet50-training]}', "mixes: must be one line of text"),
        ('modes: [mps]\nmixes: {"\\ud800": [resnet50-training]}', "mixes: must be one line of text"),
        (
            "modes: [mps]\nmixes: {1: [resnet50-training], '1': [resnet50-training]}",
            "mixes: '1' is listed 2 times",
        ),
        (GOOD + "name: {a: b}", "name: must be one line of text"),
        (GOOD + "name:", "name: must be one line of text"),
        (GOOD + "blocks: true", "blocks: must be a whole number from 1 to 1000, not True"),
        (GOOD + "blocks: 2.0", "not 2.0"),
        (GOOD + "blocks: 0x" + "f" * 9000, "not a number too large to print"),
        (GOOD + "timing: [smoke]", "timing: unknown value ['smoke']"),
        (GOOD + "primary: []", "primary: unknown value []"),
        (GOOD + "baseline: exclusive", "baseline: 'exclusive' is not a sharing mode"),
        (GOOD + "baseline: mig", "it has: mps, time-slicing"),
    ],
)
def test_impossible_values(problems, text, problem):
    found = problems(text)
    assert len(found) == 1, found
    assert problem in found[0]


@pytest.mark.parametrize(
    ("job", "problem"),
    [
        ("batch_size: [1]", "batch_size: must be of type int (default 64), not [1]"),
        ("batch_size: '8'", "must be of type int"),
        ("batch_size: true", "must be of type int"),
        ("batch_size: 0", "must be positive"),
        ("batch_size: -8", "must be positive"),
        ("batch_size: 10000000000", "below 1e+09"),
        ("batch_size: 0x" + "f" * 9000, "below 1e+09"),
        ("channels_last: 1", "must be of type bool"),
        ("precision: int8", "must be one of bf16, fp16, fp32"),
        ("count: 0", "count: must be a whole number from 1 to 48, not 0"),
        ("count: many", "not 'many'"),
        ("count: [[1]]", "not [1]"),
        ("count: []", "not []"),
        ("count: [2, 2]", "listed 2 times"),
        ("1: 2", "unknown key 1"),
    ],
)
def test_impossible_parameters_and_counts(problems, job, problem):
    found = problems(f"modes: [mps]\nmixes: {{a: [{{workload: resnet50-training, {job}}}]}}")
    assert any(text.startswith("mixes.a[0]") and problem in text for text in found), found


@pytest.mark.parametrize("value", ["0.0", "1.5", "-0.1", ".nan"])
def test_the_dial_of_a_probe_has_two_ends(problems, value):
    (found,) = problems(f"modes: [mps]\nmixes: {{a: [{{workload: sm-probe, intensity: {value}}}]}}")
    assert found.startswith("mixes.a[0].intensity: must be above 0 and at most 1, not")


def test_only_a_job_that_serves_users_takes_an_slo_and_it_is_part_of_its_name(problems, read):
    (mix,) = read("modes: [mps]\nmixes: {a: [{workload: jupyter, slo_s: 0.5}, resnet50-training]}").mixes
    assert [job.label for job in mix.jobs] == ["jupyter slo_s=0.5", "resnet50-training"]
    assert [job.serves_users for job in mix.jobs] == [True, False]
    assert mix.turns == 1
    for entry, problem in (
        ("{workload: jupyter, slo_s: 0}", "mixes.a[0].slo_s: must be positive"),
        ("{workload: jupyter, slo_s: fast}", "mixes.a[0].slo_s: must be of type float"),
        ("{workload: resnet50-training, slo_s: 1.0}", "mixes.a[0]: unknown key 'slo_s'"),
    ):
        (found,) = problems(f"modes: [mps]\nmixes: {{a: [{entry}]}}")
        assert found.startswith(problem)


def test_limits_of_mps_are_one_for_every_job_or_one_for_each(read):
    entry = "{mode: mps, active_thread_percentage: [70, 30], memory_limit_gib: 20}"
    (mode,) = read(f"modes: [{entry}]\nmixes: {{a: [resnet50-training, bert-base-training]}}").modes
    assert [mode.percentage_of(slot) for slot in (0, 1)] == [70, 30]
    assert [mode.memory_limit_mib_of(slot) for slot in (0, 1)] == [20480, 20480]


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("active_thread_percentage: [70, 130]", "should be less than or equal to 100, not 130"),
        ("active_thread_percentage: [70, 0]", "should be greater than or equal to 1, not 0"),
        ("active_thread_percentage: [70, 12.5]", "should be a valid integer"),
        ("active_thread_percentage: []", "should be a valid integer, not []"),
        ("active_thread_percentage: [[50], [50]]", "should be a valid integer, not [50]"),
        ("active_thread_percentage: true", "should be a valid integer, not True"),
        ("memory_limit_gib: 0", "should be greater than or equal to 0.1, not 0"),
        ("memory_limit_gib: [20, -1]", "should be greater than or equal to 0.1, not -1"),
        ("memory_limit_gib: .inf", "should be a finite number, not inf"),
        ("memory_limit_gib: 20G", "should be a valid number, not '20G'"),
    ],
)
def test_impossible_limits_of_mps(problems, option, problem):
    found = problems(f"modes: [{{mode: mps, {option}}}]\nmixes: {{a: [resnet50-training, bert-base-training]}}")
    assert len(found) == 1
    assert found[0].startswith(f"modes[0].{option.split(':')[0]}: {problem}")


def test_lists_of_limits_must_have_an_entry_for_each_job(problems):
    modes = "modes: [{mode: mps, active_thread_percentage: [70, 30], memory_limit_gib: [10, 10, 10]}]\n"
    assert problems(modes + "mixes: {one: [resnet50-training], two: [resnet50-training, resnet50-training]}") == [
        "mixes.one: has 1 jobs, but mps 70%+30% 10gib+10gib+10gib has 2 thread percentages",
        "mixes.one: has 1 jobs, but mps 70%+30% 10gib+10gib+10gib has 3 memory limits",
        "mixes.two: has 2 jobs, but mps 70%+30% 10gib+10gib+10gib has 3 memory limits",
    ]


def test_an_unknown_time_slice_is_refused(problems):
    (problem,) = problems("modes: [{mode: time-slicing, time_slice: default}]\nmixes: {a: [resnet50-training]}")
    assert problem == "modes[0].time_slice: should be 'short', 'medium' or 'long', not 'default'"


def test_a_layout_must_have_an_instance_for_each_job(problems, read):
    layout = "modes: [{mode: mig, layout: 3g.40gb+3g.40gb}]\n"
    (problem,) = problems(layout + "mixes: {three: [{workload: resnet50-training, count: 3}]}")
    assert problem == "mixes.three: has 3 jobs, but mig 3g.40gb+3g.40gb has 2 instances"
    assert (
        read(layout + "mixes: {two: [{workload: resnet50-training, count: 2}]}").modes[0].profiles
        == ("3g.40gb",) * 2
    )


@pytest.mark.parametrize(
    ("mode", "jobs", "misfit"),
    [
        ("{mode: mps-partitions, chunks: [7, 6]}", 2, None),
        ("{mode: mps-partitions, chunks: [7, 6]}", 3, "mps-partitions 7+6 has 2 partitions"),
        ("mps-partitions", 3, None),
        ("{mode: mig-mps, layout: 3g.40gb+3g.40gb}", 3, None),
        ("{mode: mig-mps, layout: 3g.40gb+3g.40gb}", 1, "mig-mps 3g.40gb+3g.40gb has 2 instances"),
    ],
)
def test_shares_that_the_plan_gives_must_fit_its_mixes(problems, read, mode, jobs, misfit):
    text = f"modes: [{mode}]\nmixes: {{some: [{{workload: resnet50-training, count: {jobs}}}]}}"
    assert read(text) if misfit is None else problems(text) == [f"mixes.some: has {jobs} jobs, but {misfit}"]


@pytest.mark.parametrize("chunks", ["[7, 0]", "[7.5]", "[true]", "[]", "7", "['7']"])
def test_chunks_are_a_list_of_positive_whole_numbers(problems, chunks):
    text = f"modes: [{{mode: mps-partitions, chunks: {chunks}}}]\nmixes: {{one: [resnet50-training]}}"
    (problem,) = problems(text)
    assert problem.startswith("modes[0].chunks")
    assert "tuple" not in problem


def test_a_wrong_job_still_counts_against_a_layout(problems):
    (problem,) = problems(
        "modes: [{mode: mig, layout: 3g.40gb+3g.40gb}]\nmixes: {a: [resnet50-training, invented]}"
    )
    assert problem.startswith("mixes.a[1]: unknown workload 'invented'")


def test_counts_expand_into_a_series_of_mixes(read):
    plan = read("modes: [mps]\nmixes: {s: [bert-base-training, {workload: resnet50-training, count: [1, 2, 4]}]}")
    assert [mix.name for mix in plan.mixes] == ["s x1", "s x2", "s x4"]
    assert [len(mix.jobs) for mix in plan.mixes] == [2, 3, 5]
    assert [job.workload for job in plan.mixes[1].jobs] == ["bert-base-training", *["resnet50-training"] * 2]
    assert plan.mixes[1].tenants == ("bert-base-training", "resnet50-training #1", "resnet50-training #2")


def test_one_count_repeats_a_job_beside_a_series(read):
    job = "{workload: bert-base-training, count: 2}"
    plan = read(f"modes: [mps]\nmixes: {{s: [{job}, {{workload: resnet50-training, count: [1, 2]}}]}}")
    assert [len(mix.jobs) for mix in plan.mixes] == [3, 4]


def test_two_series_in_a_mix_contradict_each_other(problems):
    series = "{workload: resnet50-training, count: [1, 2]}"
    assert problems(f"modes: [mps]\nmixes: {{a: [{series}, {series}]}}") == [
        "mixes.a: only one job of a mix can have a list of counts"
    ]


def test_a_series_must_not_take_the_name_of_another_mix(problems):
    series = "{workload: resnet50-training, count: [2, 4]}"
    assert problems(f"modes: [mps]\nmixes: {{a: [{series}], a x2: [resnet50-training]}}") == [
        "mixes: 'a x2' is listed 2 times"
    ]


def test_no_mode_carries_more_than_48_tenants(problems):
    job = "{workload: resnet50-training, count: 25}"
    (problem,) = problems(f"modes: [mps]\nmixes: {{a: [{job}, {job}]}}")
    assert problem == "mixes.a: 50 jobs; no mode carries more than 48 tenants"


def test_yaml_merge_keys_work(read):
    base = "- &base {workload: resnet50-training, batch_size: 8}"
    plan = read(f"modes: [mps]\nmixes:\n  a:\n  {base}\n  - {{<<: *base, batch_size: 16}}")
    assert [job.parameters["batch_size"] for job in plan.mixes[0].jobs] == [8, 16]


def test_a_billion_laughs_are_refused_in_a_few_words(problems):
    levels = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefghij", "bcdefghijk"))  # noqa: B905
    found = problems(
        f"a: &a [ha]\n{levels}modes: [*k]\nmixes: {{x: *k, y: [*k]}}\nname: *k\nblocks: *k\nprimary: *k\n"
    )
    assert max(map(len, found)) < 1000
    assert any(text.startswith("mixes.y[0]: must be a workload's name") for text in found)


def test_a_structure_that_contains_itself_is_refused(problems):
    assert len(problems("modes: &m [*m]\nmixes: &x {x: *x}")) == 2


def test_a_plan_that_cannot_be_read(tmp_path, catalog):
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00\xd8")
    for path in (binary, tmp_path, tmp_path / "absent.yaml"):
        with pytest.raises(PlanError, match="cannot be read as UTF-8 text"):
            load_plan(path, catalog)


def test_a_plan_is_found_by_preset_or_path(tmp_path, monkeypatch):
    own = tmp_path / "own.yaml"
    own.write_text(GOOD)
    assert find_plan(str(own), "gpu") == own
    assert find_plan("smoke", "gpu").name == "smoke.yaml"
    assert find_plan("smoke", "cpu").name == "smoke.cpu.yaml"
    with pytest.raises(
        PlanError, match=r"did you mean 'smoke'\?; presets: paper, scaling, selftest, smoke, standard"
    ):
        find_plan("smok", "gpu")
    with pytest.raises(PlanError, match="no such file"):
        find_plan(str(tmp_path), "gpu")


@pytest.mark.parametrize("device", ["gpu", "cpu"])
@pytest.mark.parametrize("name", ["smoke", "standard"])
def test_presets_hold_what_the_design_says(name, device, catalog):
    plan = load_plan(find_plan(name, device), catalog)
    resnet = "resnet18-training" if device == "cpu" else "resnet50-training"
    replicas = [("bert-base-batch-inference",) * 4] if name == "standard" else []
    assert [tuple(job.workload for job in mix.jobs) for mix in plan.mixes] == [
        (resnet, "bert-base-training"),
        *replicas,
    ]
    assert all(not job.parameters for mix in plan.mixes for job in mix.jobs)
    gpu_modes = ["time-slicing", "mps", "mps-equal", "mig"]
    assert [mode.label for mode in plan.modes] == (["cpu-shared"] if device == "cpu" else gpu_modes)
    assert plan.name == plan.timing.name == name
    assert plan.reference == (None if device == "cpu" else "time-slicing")


def test_timings_hold_what_the_design_says():
    seen = {name: (t.blocks, t.settle_s, t.window_s, t.publishable) for name, t in TIMINGS.items()}
    assert seen == {
        "selftest": (1, 3, 6, False),
        "smoke": (2, 3, 5, False),
        "standard": (10, 30, 120, True),
        "paper": (10, 60, 600, True),
        "sequential": (10, 30, 120, True),
        "switching": (10, 0, 1, True),
    }
    assert [name for name, timing in TIMINGS.items() if timing.measures == "switching"] == ["switching"]
    assert {name: (t.stopping, t.most_blocks) for name, t in TIMINGS.items() if t.stopping != "fixed"} == {
        "paper": ("stein", 40), "sequential": ("sequential", 40)
    }  # fmt: skip


def test_the_switching_preset_cuts_the_device_for_one_two_and_four_jobs_on_any_board():
    plan = load_plan(find_plan("switching", "gpu"), load_catalog())
    assert [len(mix.jobs) for mix in plan.mixes] == [1, 2, 4]
    assert {job.workload for mix in plan.mixes for job in mix.jobs} == {"first-context"}
    assert [mode.label for mode in plan.modes] == ["time-slicing", "mps", "mps-equal", "mig"]
    assert plan.timing == TIMINGS["switching"]


_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates(),
    st.sampled_from(["mps", "mig", "exclusive", "resnet50-training", "mode", "workload", "stp"]),
)  # fmt: skip
_KEYS = st.one_of(_SCALARS, st.sampled_from([*PLAN_KEYS, "workload", "count", "batch_size", "layout", "mode"]))
_TREES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3), max_leaves=12
)
_PLANS = st.dictionaries(st.sampled_from(PLAN_KEYS), _TREES, max_size=7)
_JOBS = st.lists(st.just("resnet50-training") | _TREES, min_size=1, max_size=3)
_NEARLY = st.fixed_dictionaries(
    {
        "modes": st.lists(st.sampled_from(["mps", "mig", "time-slicing"]) | _TREES, min_size=1, max_size=2),
        "mixes": st.dictionaries(st.text(string.ascii_letters, min_size=1), _JOBS, min_size=1, max_size=2),
    },
    optional={"blocks": st.integers(1, 9), "baseline": _SCALARS, "primary": st.sampled_from(PRIMARY_METRICS)},
)


def either_a_plan_or_its_problems(text: str) -> None:
    try:
        assert isinstance(read_plan(text, "x.yaml", load_catalog()), Plan)
    except PlanError as error:
        assert error.problems
        assert str(error).encode()  # it can be printed


@settings(max_examples=150, deadline=None)
@given(_TREES | _PLANS | _NEARLY)
def test_any_structure_gives_a_plan_or_its_problems(tree):
    either_a_plan_or_its_problems(yaml.dump(tree, allow_unicode=False))


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80) | st.text("[]{}:,-&*!|>'\"\n a?%@#0", max_size=80))
def test_any_text_gives_a_plan_or_its_problems(text):
    either_a_plan_or_its_problems(text)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=120))
def test_any_bytes_give_a_plan_or_its_problems(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "random.yaml"
    path.write_bytes(content)
    with pytest.raises(PlanError):
        load_plan(path, load_catalog())


def test_a_mig_mode_takes_a_layout(read):
    plan = read(
        "modes: [mig, {mode: mig, layout: 4g.40gb+3g.40gb}]\nmixes: {a: [resnet50-training, bert-base-training]}"
    )
    assert plan.modes == (Mig(), Mig(layout="4g.40gb+3g.40gb"))
    assert [mode.label for mode in plan.modes] == ["mig", "mig 4g.40gb+3g.40gb"]
