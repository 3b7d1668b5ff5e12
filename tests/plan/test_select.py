import pytest

from bench.errors import SetupError
from bench.plan.load import find_plan, load_plan
from bench.plan.select import select_modes

MIXES = "mixes: {pair: [resnet50-training, bert-base-training]}\n"


def labels(selection):
    return [mode.label for mode in selection.plan.modes]


@pytest.fixture
def own(read):
    return read(MIXES + "modes: [mps, {mode: mps, active_thread_percentage: 50}, exclusive]")


@pytest.fixture
def preset(catalog):
    return load_plan(find_plan("standard", "gpu"), catalog)


def test_without_names_a_users_plan_is_required_and_a_preset_is_not(own, preset):
    assert select_modes(own, [], False, "gpu").required == {"mps", "mps 50%", "exclusive"}
    selection = select_modes(preset, [], True, "gpu")
    assert (selection.plan, selection.required) == (preset, frozenset())


def test_a_name_keeps_the_plans_entries_of_that_mode(own):
    selection = select_modes(own, ["mps"], False, "gpu")
    assert labels(selection) == ["mps", "mps 50%"]
    assert selection.required == {"mps", "mps 50%"}


def test_a_name_that_the_plan_lacks_adds_the_bare_mode(own):
    selection = select_modes(own, ["mig", "mps"], False, "gpu")
    assert labels(selection) == ["mig", "mps", "mps 50%"]
    assert selection.required == {"mig", "mps", "mps 50%"}


def test_all_adds_every_sharing_mode_and_requires_none(own):
    selection = select_modes(own, ["all"], False, "gpu")
    assert labels(selection) == ["time-slicing", "mps", "mps 50%", "mps-equal", "mig", "exclusive"]
    assert selection.required == frozenset()


def test_a_name_beside_all_is_required(preset):
    selection = select_modes(preset, ["all", "mig"], True, "gpu")
    assert labels(selection) == ["time-slicing", "mps", "mps-equal", "mig"]
    assert selection.required == {"mig"}


def test_all_on_the_cpu_is_cpu_shared_only(catalog):
    plan = load_plan(find_plan("smoke", "cpu"), catalog)
    assert labels(select_modes(plan, ["all"], True, "cpu")) == ["cpu-shared"]


def test_a_name_given_twice_counts_once(preset):
    assert labels(select_modes(preset, ["mps", "mps"], True, "gpu")) == ["mps"]


def test_only_modes_change(preset):
    selected = select_modes(preset, ["mps"], True, "gpu").plan
    assert selected.model_copy(update={"modes": preset.modes}) == preset
    assert selected.reference is None  # one sharing mode: the contrast is against exclusive


def test_an_unknown_name_is_refused_with_the_nearest(preset):
    with pytest.raises(SetupError, match=r"--mode mgi: no such mode; did you mean 'mig'\?; known: .*all"):
        select_modes(preset, ["mps", "mgi"], True, "gpu")


def test_as_found_takes_the_place_of_a_plans_modes_and_all_does_not_include_it(preset):
    selection = select_modes(preset, ["as-found"], True, "gpu")
    assert (labels(selection), selection.required) == (["as-found"], {"as-found"})
    assert "as-found" not in labels(select_modes(preset, ["all"], True, "gpu"))


@pytest.mark.parametrize("names", [["as-found", "mps"], ["all", "as-found"], ["as-found", "exclusive"]])
def test_as_found_stands_beside_no_mode_that_switches(preset, names):
    with pytest.raises(SetupError, match=r"as-found takes the device as it is, and .* would change it"):
        select_modes(preset, names, True, "gpu")


def test_a_plan_says_so_too(problems):
    (problem,) = problems(MIXES + "modes: [as-found, mps]")
    assert problem.startswith("modes: as-found takes the device as it is, and mps would change it")
