"""Programs that do not speak the protocol, under the process launcher."""

import pytest

from bench.clock import SystemClock
from bench.errors import SetupError
from bench.launch.corun import ENDED_EARLY_FLAG, co_run
from bench.launch.process import ProcessLauncher
from bench.modes.contract import Evidence, Grade
from bench.plan.model import Timing

TIMING = Timing(name="tiny", blocks=1, settle_s=0.2, window_s=1.0, publishable=False)


@pytest.fixture
def program(tenant):
    """Make a tenant that runs a line of shell and says nothing."""

    def make(line, name="silent", **options):
        return tenant(name=name, module=None, command=("sh", "-c", line), reports="nothing", **options)

    return make


def run(*tenants, confirm=lambda identities: ()):
    return co_run(ProcessLauncher(2.0), tenants, TIMING, SystemClock(), confirm)


def test_one_that_ends_well_has_a_duration(program):
    result = run(program("sleep 0.4; echo done"))
    (outcome,) = result.outcomes
    assert (result.errors, outcome.exit_status) == ((), 0)
    assert 0.4 <= outcome.duration_s < 1.2
    assert outcome.tenant.log_file.read_text() == "done\n"
    assert result.flags == ()


def test_the_window_of_silent_programs_is_the_span_in_which_all_were_at_work(program):
    result = run(program("sleep 0.3", "short"), program("sleep 60", "long"))
    short, long = result.outcomes
    assert result.errors == ()
    assert result.window.start_s == result.window.settle_s
    assert result.window.stop_s - result.window.start_s == pytest.approx(short.duration_s, abs=0.1)
    assert (long.duration_s, long.told_to_end) == (None, True)


def test_one_that_fails_is_lost_and_ends_the_others(program, tenant):
    result = run(tenant(name="a"), program("echo no such file; exit 3"))
    assert result.errors[0].startswith("silent: exit status 3; its last words: no such file")
    assert [each.duration_s for each in result.outcomes] == [None, None]


def test_one_that_outlasts_the_window_is_asked_to_end_and_not_to_blame(program, tenant):
    result = run(program("sleep 60"), tenant(name="a"))
    silent, telling = result.outcomes
    assert result.errors == ()
    assert (silent.duration_s, silent.exit_status) == (None, 143)
    assert telling.events.steps.end_s[-1] >= result.window.stop_s
    assert result.flags == ()


def test_one_that_ends_in_the_window_leaves_the_others_alone_which_is_flagged(program, tenant):
    result = run(program("sleep 0.3"), tenant(name="a"))
    silent, telling = result.outcomes
    assert result.errors == ()
    assert silent.duration_s < 1.0
    assert telling.events.steps.end_s[-1] >= result.window.stop_s
    assert result.flags == (ENDED_EARLY_FLAG,)


def test_it_starts_when_the_others_are_ready_and_keeps_its_place(program, tenant):
    silent, telling = run(program("cat /proc/uptime; sleep 60", "first"), tenant(name="second")).outcomes
    assert (silent.tenant.name, telling.tenant.name) == ("first", "second")
    ready_s = telling.events.ready["time_s"]
    began_s = float(silent.tenant.log_file.read_text().split()[0])
    assert began_s >= ready_s - 0.02


def test_its_proof_may_come_late(program):
    answers = iter([False, True])

    def confirm(identities):
        (seen,) = identities
        assert seen.said_nothing
        assert seen.host_pids
        return [Evidence("listed", 1, 1, Grade.HOST_ONLY, next(answers))]

    result = run(program("sleep 60"), confirm=confirm)
    assert [each.holds for each in result.evidence] == [True]
    assert result.window is not None


def test_whatever_it_started_counts_as_its_own(program):
    tenant = program("sleep 60 & sleep 60 & wait")
    handle = ProcessLauncher(2.0).start(tenant)
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + 10
    while len(handle.host_pids()) < 3 and clock.monotonic_s() < deadline_s:
        clock.sleep(0.02)
    assert len(handle.host_pids()) == 3
    handle.remove()


def test_an_image_without_a_command_is_no_process(program):
    workload = program("true").workload.model_copy(update={"command": (), "image": "my/solver"})
    with pytest.raises(SetupError, match="is an image without a command; use --launcher docker"):
        ProcessLauncher().preflight([workload])
