"""Which instances a mix gets and where they lie, against the placement tables of the boards."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import ModeUnavailable
from bench.gpu.mig_tables import MigPlacements, MigProfile
from bench.modes.mig_layout import plan_layout
from bench.plan.mode import Mig
from bench.simulator.driver.models import MODELS

BOARDS = sorted(key for key, model in MODELS.items() if model.mig_capable)


def offered(board):
    profiles = MODELS[board].profiles
    return (
        [MigProfile(p.name, p.id, p.max_instances, p.max_instances, p.memory_mib / 1024, p.sms) for p in profiles],
        {p.id: MigPlacements(p.id, p.starts, p.size) for p in profiles},
    )


def names(board, tenants):
    return {placed.profile.name for placed in plan_layout(Mig(), tenants, *offered(board))}


@pytest.mark.parametrize(
    ("tenants", "profile"),
    [
        (1, "7g.80gb"),
        (2, "3g.40gb"),
        (3, "2g.20gb"),
        (4, "1g.20gb"),
        (5, "1g.10gb"),
        (6, "1g.10gb"),
        (7, "1g.10gb"),
    ],
)
def test_each_number_of_tenants_on_an_a100_80gb(tenants, profile):
    assert names("a100-80gb", tenants) == {profile}


@pytest.mark.parametrize("board", BOARDS)
def test_more_tenants_than_instances_are_refused(board):
    most = max(profile.max_instances for profile in MODELS[board].profiles)
    assert len(plan_layout(Mig(), most, *offered(board))) == most
    with pytest.raises(ModeUnavailable, match=f"room for {most}"):
        plan_layout(Mig(), most + 1, *offered(board))


def test_a_layout_in_any_order_is_placed_and_kept_in_plan_order():
    """Biggest first alone would strand 1g, 3g, 3g: the driver's own choice of places does."""
    for order in set(itertools.permutations(["3g.40gb", "2g.20gb", "1g.10gb", "1g.10gb"])):
        layout = plan_layout(Mig(layout="+".join(order)), 4, *offered("a100-80gb"))
        assert tuple(placed.profile.name for placed in layout) == order


@pytest.mark.parametrize(
    ("layout", "problem"),
    [
        ("4g.40gb+4g.40gb", r"4g\.40gb\+4g\.40gb does not fit.*lgipp"),
        ("7g.80gb+1g.10gb", "does not fit"),
        ("5g.50gb", r"no MIG profile 5g\.50gb on this GPU; it has: .*3g\.40gb"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(layout, problem):
    with pytest.raises(ModeUnavailable, match=problem):
        plan_layout(Mig(layout=layout), layout.count("+") + 1, *offered("a100-80gb"))


def fits_by_trying_everything(wanted, placements):
    """Slow and certain: every combination of start slots."""
    return any(
        _disjoint(
            [set(range(start, start + placements[p.id].size)) for p, start in zip(wanted, starts, strict=True)]
        )
        for starts in itertools.product(*(placements[profile.id].starts for profile in wanted))
    )


def _disjoint(places):
    return sum(map(len, places)) == len(set().union(*places))


@given(st.sampled_from(BOARDS), st.data())
def test_whatever_is_asked_for_lies_without_overlap_or_cannot(board, data):
    profiles, placements = offered(board)
    plain = [profile for profile in profiles if profile.name.replace(".", "").isalnum()]
    wanted = data.draw(st.lists(st.sampled_from(plain), min_size=1, max_size=5))
    mode = Mig(layout="+".join(profile.name for profile in wanted))
    try:
        layout = plan_layout(mode, len(wanted), profiles, placements)
    except ModeUnavailable:
        assert not fits_by_trying_everything(wanted, placements)
        return
    assert [placed.profile for placed in layout] == wanted
    assert all(placed.start in placements[placed.profile.id].starts for placed in layout)
    assert _disjoint([set(range(p.start, p.start + placements[p.profile.id].size)) for p in layout])
