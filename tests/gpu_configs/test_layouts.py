"""`layouts.yaml`: every named layout can be cut, and `setup_mig.sh` knows it by its name."""

from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path

import pytest
import yaml

from bench.simulator.driver.models import H100_80GB, MODELS

FILE = Path(__file__).resolve().parents[2] / "gpu_configs" / "layouts.yaml"
DOCUMENT = yaml.safe_load(FILE.read_text(encoding="utf-8"))
LAYOUTS = DOCUMENT["layouts"]
ELSEWHERE = {"NVIDIA H100 NVL", "NVIDIA B200"}  # no model; they share ids and places with the H100


def modelled(card):
    return [model for model in MODELS.values() if fnmatchcase(model.name, card)]


def places(layout):
    return [tuple(map(int, place.split(":"))) for place in layout.split(",")]


def test_each_board_with_mig_has_its_card_and_each_card_a_source():
    cards = {row["card"] for row in LAYOUTS}
    assert {row["card"] for row in DOCUMENT["sources"]} == cards
    assert {card for card in cards if not modelled(card)} == ELSEWHERE
    for model in MODELS.values():
        assert sum(fnmatchcase(model.name, card) for card in cards) == model.mig_capable


def test_names_are_told_apart_and_a_line_holds_one():
    keys = [(row["card"], row["name"]) for row in LAYOUTS]
    assert len(set(keys)) == len(keys)
    for row in LAYOUTS:
        line = f'  - {{card: "{row["card"]}", name: "{row["name"]}", layout: "{row["layout"]}"}}'
        assert line in FILE.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("row", LAYOUTS, ids=lambda row: f"{row['card']} {row['name']}")
def test_instances_lie_where_they_may_and_beside_one_another(row):
    board = next(iter(modelled(row["card"])), H100_80GB)
    taken = []
    for number, start in places(row["layout"]):
        profile = board.profile(str(number))
        assert start in profile.starts
        taken.append(range(start, start + profile.size))
    slots = list(chain(*taken))
    assert len(set(slots)) == len(slots)


@pytest.mark.parametrize(
    ("card", "model"),
    [(card, model) for card in sorted({row["card"] for row in LAYOUTS}) for model in modelled(card)],
)
def test_each_layout_can_be_had_by_its_name(make_gpu, result, card, model):
    for row in (row for row in LAYOUTS if row["card"] == card):
        gpu = make_gpu(model.key)
        said = result(gpu.run("setup_mig.sh", "--layout", row["name"], "--allow-reset"))
        rows = [instance.split("/") for instance in said["instances"].split(",")]
        made = [(gi.profile_id, gi.start) for gi in gpu.state.instances]
        assert sorted(made) == sorted(places(row["layout"]))
        times, _, name = row["name"].rpartition("x")
        assert [name for *_, name, _ in rows] == ([name] * int(times) if times else row["name"].split("+"))


def test_a_name_of_another_board_is_refused_with_those_of_this_one(a100):
    before = a100.state_file.read_bytes()
    done = a100.run("setup_mig.sh", "--layout", "7x1g.5gb", "--allow-reset")
    assert done.returncode == 2
    assert "7x1g.10gb" in done.stderr
    assert a100.state_file.read_bytes() == before


def test_a_named_layout_again_changes_nothing(h100, result, without_times):
    first = result(h100.run("setup_mig.sh", "--layout", "2x3g.40gb"))
    assert result(h100.run("setup_mig.sh", "--layout", "2x3g.40gb")) == without_times(first) | {
        "mode_changed": "no"
    }


def test_a_dry_run_prints_ids_and_places(h100):
    done = h100.run("setup_mig.sh", "--layout", "2x3g.40gb", "--dry-run")
    assert "-cgi 9:0,9:4 -C" in done.stdout
    assert not h100.state.mig_enabled
