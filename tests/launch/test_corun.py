"""The co-run of real, tiny programs under the process launcher."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from bench.clock import SystemClock
from bench.launch.corun import Deadlines, co_run
from bench.launch.process import ProcessLauncher
from bench.modes.contract import Evidence, Grade
from bench.plan.model import Timing

TIMING = Timing(name="tiny", blocks=1, settle_s=0.1, window_s=0.4, publishable=False)
ROOT = Path(__file__).parents[2]


class Remembering(ProcessLauncher):
    """Remembers what it started, so that a test can look for what is left."""

    def __init__(self, stop_grace_s=5.0):
        super().__init__(stop_grace_s)
        self.pids = []

    def start(self, tenant):
        handle = super().start(tenant)
        self.pids += handle.host_pids()
        return handle


@pytest.fixture
def launcher():
    return Remembering()


def run(launcher, tenants, confirm=lambda identities: (), **deadlines):
    return co_run(launcher, tenants, TIMING, SystemClock(), confirm, Deadlines(**deadlines))


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone_within(pid, seconds):
    tick = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if not alive(pid):
            return True
        tick.wait(0.02)
    return False


def test_all_are_released_together_and_all_fill_the_window(launcher, tenant):
    seen = []
    result = run(launcher, [tenant(name=name) for name in "abc"], lambda identities: seen.extend(identities) or ())
    assert result.errors == ()
    window = result.window
    assert window.settle_s - window.start_s == pytest.approx(0.1)
    assert window.stop_s - window.settle_s == pytest.approx(0.4)
    for outcome in result.outcomes:
        steps, warmup = outcome.events.steps, outcome.events.warmup
        assert outcome.exit_status == 0
        assert len(warmup) == 2
        assert max(warmup.end_s) < window.start_s <= steps.end_s[0] - steps.duration_s[0]
        assert steps.end_s[0] < window.settle_s
        assert steps.end_s[-1] >= window.stop_s > steps.end_s[-2]
        assert outcome.events.done["items"] == 3 * len(steps)
    assert [(each.tenant, each.device_name) for each in seen] == [(name, "a processor") for name in "abc"]
    assert [each.host_pids for each in seen] == [(pid,) for pid in launcher.pids]
    assert [outcome.events.hello["pid"] for outcome in result.outcomes] == launcher.pids
    assert not any(map(alive, launcher.pids))


@pytest.mark.parametrize("behave", ["well", "err"])
def test_a_job_of_requests_has_no_steps_and_fills_the_window(launcher, tenant, behave):
    """What its users are told is data: requests that failed do not fail the job."""
    result = run(launcher, [tenant(), tenant(behave, name="b", module="tiny_user", reports="requests")])
    assert result.errors == ()
    requests = result.outcomes[1].events.requests
    assert len(requests) == 10
    assert set(requests.status) == ({"ok"} if behave == "well" else {"ok", "error"})
    assert len(result.outcomes[1].events.steps) == 0


@pytest.mark.parametrize(
    ("behave", "error"),
    [
        ("leave-early", "b: ended before the window did"),
        ("lose-one", "b: 10 requests were planned, but 9 were reported"),
        ("go-on", "b: 10 requests were planned, but 11 were reported"),
    ],
)
def test_a_job_that_does_not_account_for_its_requests_fails(launcher, tenant, behave, error):
    result = run(launcher, [tenant(behave, name="b", module="tiny_user", reports="requests")])
    assert result.errors == (error,)


def test_users_do_the_same_whatever_the_seed_of_the_trial_is(tenant):
    steps = replace(tenant(), users_seed=3)
    assert steps.arguments[2:4] == ("--seed", "7")
    requests = replace(tenant(name="b", reports="requests"), users_seed=3)
    assert requests.arguments[2:4] == ("--seed", "3")


def test_jobs_become_ready_one_after_another(launcher, tenant):
    first, second = run(launcher, [tenant(name="a"), tenant(name="b")]).outcomes
    assert first.events.ready["time_s"] < second.events.hello["time_s"]


def test_a_job_that_crashes_at_once_is_told_with_its_last_words(launcher, tenant):
    result = run(launcher, [tenant(name="a"), tenant("crash-at-once", name="b"), tenant(name="c")])
    expected = "b: exit status 1; its last words: this is tiny_tenant, behaving: crash-at-once | no such model"
    assert result.errors == (expected,)
    assert result.window is None
    assert len(result.outcomes) == 2  # the third was not started any more
    assert not any(map(alive, launcher.pids))


def test_a_job_that_never_gets_ready(tenant):
    launcher = Remembering(stop_grace_s=0.3)
    result = run(launcher, [tenant(name="a"), tenant("never-ready", name="b")], ready_s=1.0)
    (error,) = result.errors
    assert error.startswith("b: not ready 1 s after its start; its last words: this is tiny_tenant")
    assert result.window is None
    assert not any(map(alive, launcher.pids))


@pytest.mark.parametrize(
    ("behave", "error"),
    [
        ("crash-in-the-window", "b: exception: CUDA error: an illegal memory access was encountered"),
        ("vanish-in-the-window", "b: exit status 137; its last words: this is tiny_tenant"),
        ("leave-early", "b: ended before the window did"),
    ],
)
def test_a_job_that_is_lost_in_the_window_ends_the_others_and_is_named_first(launcher, tenant, behave, error):
    timing = TIMING.model_copy(update={"window_s": 60})
    tenants = [tenant(name="a"), tenant(behave, name="b"), tenant(name="c")]
    clock = SystemClock()
    began_s = clock.monotonic_s()
    result = co_run(launcher, tenants, timing, clock, lambda _: ())
    assert clock.monotonic_s() - began_s < 20
    assert result.errors[0].startswith(error)
    victim = "ended because another job of the trial was lost"
    assert result.errors[1:] == (f"a: {victim}", f"c: {victim}")
    assert [outcome.told_to_end for outcome in result.outcomes] == [True, False, True]
    assert [outcome.exit_status for outcome in result.outcomes][::2] == [0, 0]  # asked, not killed
    assert not any(map(alive, launcher.pids))


class Stepping(SystemClock):
    """A host whose wall clock is set back by a quarter of a second at each look."""

    def __init__(self):
        self.offset_s = 0.0

    def wall_offset_s(self):
        self.offset_s -= 0.25
        return self.offset_s


def test_a_step_of_the_wall_clock_is_noted(launcher, tenant):
    assert co_run(launcher, [tenant()], TIMING, Stepping(), lambda _: ()).clock_step_s == -0.25
    assert abs(co_run(launcher, [tenant(name="b")], TIMING, SystemClock(), lambda _: ()).clock_step_s) < 0.05


def test_what_a_lost_job_had_done_is_kept(launcher, tenant):
    result = run(launcher, [tenant("run-out-of-memory")])
    events = result.outcomes[0].events
    assert result.errors == ("a: oom: out of memory",)
    assert len(events.steps) == 5
    assert events.error["traceback"].startswith("Traceback")


def test_a_job_that_ignores_sigterm_is_killed_after_the_grace(tenant):
    launcher = Remembering(stop_grace_s=0.3)
    result = run(launcher, [tenant("deaf")], ready_s=1.0)
    assert result.outcomes[0].exit_status == 137
    assert not alive(launcher.pids[0])


def test_a_job_that_still_runs_long_after_the_window_is_to_blame(tenant):
    launcher = Remembering(stop_grace_s=0.3)
    result = run(launcher, [tenant(name="a"), tenant("linger", name="b")], end_s=0.2)
    assert result.errors == ("b: still ran 0.2 s after the window",)
    assert result.outcomes[0].exit_status == 0
    assert not any(map(alive, launcher.pids))


def test_evidence_that_does_not_hold_stops_the_trial_before_its_start(launcher, tenant):
    doubt = Evidence("claim", 1, 2, Grade.SEEN_BY_TENANT, holds=False)
    result = run(launcher, [tenant()], lambda identities: [doubt])
    assert (result.evidence, result.window) == ((doubt,), None)
    assert result.errors == ()
    assert not (result.outcomes[0].tenant.folder / "start.json").exists()
    assert not any(map(alive, launcher.pids))


def test_ctrl_c_leaves_no_process(launcher, tenant):
    def interrupt(identities):
        os.kill(os.getpid(), signal.SIGINT)
        return ()

    with pytest.raises(KeyboardInterrupt):
        run(launcher, [tenant(name="a"), tenant(name="b")], interrupt)
    assert len(launcher.pids) == 2
    assert not any(map(alive, launcher.pids))


def test_a_job_that_cannot_be_started_is_an_error_of_that_job(launcher, tenant):
    lost = tenant(name="a")
    lost.folder.rmdir()
    (error,) = run(launcher, [lost]).errors
    assert error.startswith("a: tiny_tenant could not be started: [Errno 2]")


def test_whatever_a_job_started_ends_with_it(launcher, tenant):
    (outcome,) = run(launcher, [tenant("with-a-child")]).outcomes
    assert outcome.error is None
    child = int(outcome.tenant.log_file.read_text().split("child ")[1])
    assert gone_within(child, 5)


RUNNER = """
    import sys, time
    from pathlib import Path
    from bench.launch.contract import Tenant
    from bench.launch.process import ProcessLauncher
    from bench.modes.contract import Grant
    from bench.plan.catalog import load_catalog
    workload = load_catalog()["resnet50-training"].model_copy(update={"module": "tiny_tenant"})
    folder = Path(sys.argv[1])
    tenant = Tenant("a", "a", workload, {}, 1, "cpu", Grant(None), folder, None, 1, "run")
    handle = ProcessLauncher().start(tenant)
    print(*handle.host_pids(), flush=True)
    time.sleep(600)
"""


def test_jobs_die_with_a_runner_that_is_killed(tenant, tmp_path):
    """The job is ready and waits for the start; only SIGTERM from the kernel or its own watch ends it."""
    command = [sys.executable, "-c", textwrap.dedent(RUNNER), str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as runner:
        pid = int(runner.stdout.readline())
        try:
            tick = threading.Event()
            while not (events := tmp_path / "events.jsonl").exists() or '"ready"' not in events.read_text():
                assert runner.poll() is None
                tick.wait(0.02)
        finally:
            runner.kill()
    assert gone_within(pid, 10)
