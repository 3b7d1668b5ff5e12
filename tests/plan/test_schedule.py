import re
from collections import Counter
from hashlib import sha256

import pytest

from bench.plan.mode import AsFound, CpuShared, Exclusive, Mig, MigMps, Mps, MpsEqual, MpsPartitions, TimeSlicing
from bench.plan.model import TIMINGS, Job, Mix, Plan
from bench.plan.schedule import Role, make_repeats, make_schedule, share_of, trial_seed

RESNET, BERT = Job(workload="resnet50-training"), Job(workload="bert-base-training")
SMALL_BERT = Job(workload="bert-base-training", parameters={"batch_size": 8})
PAIR, REPLICAS = Mix(name="pair", jobs=(RESNET, BERT)), Mix(name="replicas", jobs=(BERT,) * 4)
MODES = (TimeSlicing(), Mps(), MpsEqual(), Mig())


def plan_of(modes=MODES, mixes=(PAIR, REPLICAS), blocks=6):
    return Plan(name="p", modes=modes, mixes=mixes, timing=TIMINGS["smoke"], blocks=blocks)


def ids(plan, seed=1):
    return [trial.id for trial in make_schedule(plan, seed).trials]


def test_a_seed_repeats_a_schedule_and_another_gives_another():
    assert make_schedule(plan_of(), 7) == make_schedule(plan_of(), 7)
    assert ids(plan_of(), 7) != ids(plan_of(), 8)
    assert sorted(ids(plan_of(), 7)) == sorted(ids(plan_of(), 8))


def test_every_block_visits_every_mode_once_and_exclusive_is_implied():
    for block in make_schedule(plan_of(), 3).blocks:
        assert sorted(visit.mode.label for visit in block.visits) == sorted(
            ["exclusive", "time-slicing", "mps", "mps-equal", "mig"]
        )


def full(**options):
    return plan_of(**options).model_copy(update={"timing": TIMINGS["standard"]})


def controls(schedule):
    return [t for t in schedule.trials if t.role in (Role.REPEAT, Role.SLOWED)]


def test_a_full_plan_repeats_its_reference_in_a_visit_of_its_own_in_every_block():
    places = Counter()
    for block in make_schedule(full(blocks=200), 3).blocks:
        (visit,) = [v for v in block.visits if v.trials[0].role is Role.REPEAT]
        assert [(t.mode, t.mix) for t in visit.trials] == [(TimeSlicing(), PAIR)]
        assert len(block.visits) == 6
        places[block.visits.index(visit)] += 1
    assert min(places.values()) > 15  # of 33 expected in each place: it is shuffled like any other visit


@pytest.mark.parametrize(
    ("options", "repeated"),
    [
        ({"modes": (Mps(), MpsEqual())}, "mps"),
        ({"modes": (Mig(),)}, "mig"),
        ({"modes": (AsFound(),)}, "as-found"),
        ({"modes": (Exclusive(),)}, None),
    ],
)
def test_what_is_repeated_is_the_reference_or_the_only_sharing_mode(options, repeated):
    again = {t.mode.label for t in controls(make_schedule(full(**options), 3)) if t.role is Role.REPEAT}
    assert again == ({repeated} if repeated else set())


def test_a_full_plan_slows_the_first_job_of_the_first_mix_by_five_percent_once_a_block():
    for modes, alone in ((MODES, "exclusive"), ((AsFound(),), "as-found")):
        slowed = [t for t in controls(make_schedule(full(modes=modes), 3)) if t.role is Role.SLOWED]
        assert [t.block for t in slowed] == [1, 2, 3, 4, 5, 6]
        assert {(t.mode.label, t.tenants, t.slowdown) for t in slowed} == {(alone, (RESNET.label,), 0.05)}
    assert all(t.slowdown is None for t in make_schedule(plan_of(), 3).trials)


@pytest.mark.parametrize("timing", ["smoke", "selftest", "switching"])
def test_other_plans_have_no_controls(timing):
    assert not controls(make_schedule(plan_of().model_copy(update={"timing": TIMINGS[timing]}), 3))


def test_exclusive_that_is_also_named_comes_once():
    schedule = make_schedule(plan_of(modes=(Exclusive(), Mps())), 3)
    assert all(len(block.visits) == 2 for block in schedule.blocks)


def test_as_found_is_visited_once_a_block_and_runs_the_solo_trials_itself():
    blocks = make_schedule(plan_of(modes=(AsFound(),), blocks=40), 3).blocks
    for block in blocks:
        (visit,) = block.visits
        assert visit.mode == AsFound()
        assert Counter((t.role, t.mix.name) for t in visit.trials) == Counter(
            [(Role.SOLO, RESNET.label), (Role.SOLO, BERT.label), (Role.MIX, "pair"), (Role.MIX, "replicas")]
        )
        assert len({t.id for t in visit.trials}) == 4
    first = Counter(block.visits[0].trials[0].role for block in blocks)
    assert min(first.values()) > 10  # of 40: solo trials and mixes are in random order


def test_orders_differ_between_blocks():
    blocks = make_schedule(plan_of(), 3).blocks
    assert len({tuple(visit.mode.label for visit in block.visits) for block in blocks}) > 3
    inside = [[t.id[4:] for t in v.trials] for b in blocks for v in b.visits if isinstance(v.mode, MpsEqual)]
    assert len(set(map(tuple, inside))) > 1


def test_every_place_in_the_order_is_equally_likely_for_every_mode():
    """With 1000 blocks each mode is first about 200 times; 5 standard deviations are 63."""
    blocks = make_schedule(plan_of(blocks=1000, mixes=(PAIR,)), 11).blocks
    for place in range(5):
        counts = Counter(block.visits[place].mode.label for block in blocks)
        assert len(counts) == 5
        assert all(abs(count - 200) < 63 for count in counts.values())


def test_every_mix_runs_once_in_every_sharing_mode_of_every_block():
    cells = Counter(
        (trial.block, trial.mode.label, trial.mix.name)
        for trial in make_schedule(plan_of(), 3).trials
        if trial.role is Role.MIX
    )
    assert set(cells.values()) == {1}
    assert len(cells) == 6 * 4 * 2


def test_each_distinct_job_runs_alone_once_a_block():
    plan = plan_of(mixes=(PAIR, REPLICAS, Mix(name="other", jobs=(RESNET, SMALL_BERT))))
    for block in make_schedule(plan, 3).blocks:
        solo = [trial for visit in block.visits for trial in visit.trials if trial.role is Role.SOLO]
        assert sorted(trial.mix.jobs[0].label for trial in solo) == [
            "bert-base-training",
            "bert-base-training batch_size=8",
            "resnet50-training",
        ]
        assert all(isinstance(trial.mode, Exclusive) and len(trial.tenants) == 1 for trial in solo)


def test_each_distinct_pair_of_job_and_share_runs_alone_in_its_share_once_a_block():
    twin = Mix(name="twin", jobs=(BERT, BERT))
    for block in make_schedule(plan_of(mixes=(PAIR, twin, REPLICAS)), 3).blocks:
        alone = Counter(
            (t.mode.label, t.tenants[0].split(" #")[0], t.share)
            for visit in block.visits
            for t in visit.trials
            if t.role is Role.SHARE
        )
        assert alone == Counter(
            (mode, job, share)
            for mode, half, quarter in (("mps-equal", "50%", "25%"), ("mig", "1 of 2", "1 of 4"))
            for job, share in (
                ("resnet50-training", half),
                ("bert-base-training", half),
                ("bert-base-training", quarter),
            )
        )


@pytest.mark.parametrize(
    ("mode", "slot", "share"),
    [
        (TimeSlicing(), 0, None),
        (Mps(), 0, None),
        (CpuShared(), 0, None),
        (Mps(active_thread_percentage=30), 1, "30%"),
        (Mps(active_thread_percentage=(50, 30, 20)), 2, "20%"),
        (Mps(memory_limit_gib=20), 0, None),
        (MpsEqual(), 0, "33%"),
        (Mig(), 2, "1 of 3"),
        (Mig(layout="3g.40gb+2g.20gb+1g.10gb"), 1, "2g.20gb"),
        (MpsPartitions(), 2, "1 of 3"),
        (MpsPartitions(chunks=(7, 6, 3)), 2, "3 chunks"),
        (MigMps(), 2, "1 of 2"),
        (MigMps(layout="4g.40gb+3g.40gb"), 2, "4g.40gb"),
    ],
)
def test_shares(mode, slot, share):
    assert share_of(mode, Mix(name="three", jobs=(BERT,) * 3), slot) == share


@pytest.mark.parametrize(
    "names",
    [
        ("<script>alert(1)</script>", "../../etc/passwd", "a/b", "..", "CON", "-rf"),
        ("日本語", "Ω", "🙂"),
        ("x" * 200, "x" * 199 + "y"),
        ("a b", "a-b", "A  B", "a_b"),
    ],
)
def test_ids_are_unique_and_safe_as_names_of_folders(names):
    mixes = tuple(Mix(name=name, jobs=(BERT, RESNET)) for name in names)
    seen = ids(plan_of(mixes=mixes, blocks=3))
    assert len(set(seen)) == len(seen)
    for trial_id in seen:
        assert re.fullmatch(r"b\d\d-[a-z0-9][a-z0-9.-]*[a-z0-9]", trial_id)
        assert len(trial_id) <= 200


def test_ids_of_two_modes_do_not_collide_either():
    plan = plan_of(modes=(Mps(), MpsEqual()), mixes=(PAIR, Mix(name="equal pair", jobs=(BERT, RESNET))))
    seen = ids(plan)
    assert len(set(seen)) == len(seen)
    assert len(set(ids(full(modes=(Mps(), AsFound()))))) == len(ids(full(modes=(Mps(), AsFound()))))


def test_a_cell_has_the_same_name_in_every_block():
    mixes = (Mix(name="a b", jobs=(BERT, RESNET)), Mix(name="a-b", jobs=(BERT, RESNET)))
    names = {
        (t.mode.label, t.mix.name, t.role, t.slot, t.id[3:]) for t in make_schedule(plan_of(mixes=mixes), 5).trials
    }
    cells = {name[:4] for name in names}
    assert len(names) == len(cells)


def test_an_endless_layout_still_makes_a_name_that_a_folder_can_have():
    layout = "+".join(["1g.10gb"] * 40)
    assert all(
        len(i) <= 200 for i in ids(plan_of(modes=(Mig(layout=layout),), mixes=(Mix(name="m", jobs=(BERT,) * 40),)))
    )


def test_seeds_are_a_hash_of_run_seed_and_trial_id():
    for trial in make_schedule(plan_of(), 42).trials:
        assert trial.seed == int(sha256(f"42:{trial.id}".encode()).hexdigest()[:8], 16) // 2
    assert trial_seed(1, "a") != trial_seed(2, "a") != trial_seed(2, "b")


def test_users_have_one_seed_in_all_modes_of_a_block():
    schedule = make_schedule(plan_of(), 42)
    seeds: dict[int, set[int]] = {}
    for trial in schedule.trials:
        seeds.setdefault(trial.block, set()).add(trial.block_seed)
    assert all(len(found) == 1 for found in seeds.values())
    assert len(set.union(*seeds.values())) == len(seeds)


def test_what_serves_users_is_not_the_job_to_slow():
    user = Job(workload="jupyter", serves_users=True)
    paper = plan_of(mixes=(Mix(name="m", jobs=(user, BERT)),)).model_copy(update={"timing": TIMINGS["paper"]})
    slowed = [trial for trial in make_schedule(paper, 1).trials if trial.slowdown is not None]
    assert {trial.tenants for trial in slowed} == {(BERT.label,)}
    only = paper.model_copy(update={"mixes": (Mix(name="m", jobs=(user,)),)})
    assert all(trial.slowdown is None for trial in make_schedule(only, 1).trials)


def test_expected_duration():
    schedule = make_schedule(plan_of(modes=(TimeSlicing(),), mixes=(PAIR,), blocks=3), 1)
    assert len(schedule.trials) == 3 * (2 + 1)
    assert schedule.measured_s == 9 * (3 + 5)


def test_a_longer_repeat_is_a_whole_block_under_names_of_its_own():
    plan = full()
    schedule, repeats = make_schedule(plan, 3), make_repeats(plan, 3, [5, 2])
    assert [(block.index, block.name) for block in repeats.blocks] == [(2, "b02x2"), (5, "b05x2")]
    assert (repeats.timing.settle_s, repeats.timing.window_s) == (30, 240)
    for block in repeats.blocks:
        first = {trial.id for visit in schedule.blocks[block.index - 1].visits for trial in visit.trials}
        again = [trial for visit in block.visits for trial in visit.trials]
        assert {trial.id.replace("x2", "", 1) for trial in again} == first
        assert all(trial.longer and trial.block == block.index for trial in again)
        assert Counter(visit.mode.label for visit in block.visits) == {
            **dict.fromkeys(("exclusive", "mps", "mps-equal", "mig"), 1), "time-slicing": 2
        }  # fmt: skip
    assert not {t.seed for t in repeats.trials} & {t.seed for t in schedule.trials}


def test_a_longer_repeat_does_not_depend_on_which_others_there_are():
    (alone,) = make_repeats(full(), 3, [5]).blocks
    assert alone in make_repeats(full(), 3, [1, 5]).blocks
