"""Which processes of this host are at work, and which belong together."""

import os
import signal
import subprocess
import sys

from bench.launch.host import descendants, is_gone, this_process

NAME_OF_CHILD = "from bench.launch.host import this_process; print(this_process(), flush=True); input()"


def test_this_process_is_at_work() -> None:
    assert not is_gone(this_process())


def test_a_killed_process_is_gone_even_before_its_parent_takes_notice() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", NAME_OF_CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        name = child.stdout.readline().strip()
        assert not is_gone(name)
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, but not reaped
        assert is_gone(name)
    assert is_gone(name)


def test_another_process_with_the_same_id_is_not_the_same_process() -> None:
    boot, namespace, pid, start_time = this_process().split(" ")
    assert is_gone(f"{boot} {namespace} {pid} {int(start_time) - 1}")


def test_a_process_from_before_a_reboot_is_gone() -> None:
    _, *rest = this_process().split(" ")
    assert is_gone(" ".join(["another-boot", *rest]))


def test_a_process_of_another_pid_namespace_cannot_be_judged_and_counts_as_alive() -> None:
    boot, _, *_ = this_process().split(" ")
    assert not is_gone(f"{boot} pid:[1] 999999999 1")


def test_descendants_are_found_through_all_generations() -> None:
    with subprocess.Popen(
        ["sh", "-c", "sh -c 'echo $$; read _; true'; true"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        grandchild = int(parent.stdout.readline())
        found = descendants(os.getpid())
        assert found[0] == os.getpid()
        assert {parent.pid, grandchild} <= set(found)
        assert descendants(parent.pid) == (parent.pid, grandchild)
    assert descendants(parent.pid) == ()
