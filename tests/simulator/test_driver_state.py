"""The driver state: what a tenant would be granted, who is let in, and a file that is never half-written."""

import multiprocessing
import uuid

import pytest

from bench.simulator.driver import nvidia_smi
from bench.simulator.driver.accidents import fault_client, kill_daemon
from bench.simulator.driver.cuda import (
    RefusedError,
    client_limit,
    granted_sms,
    memory_limit_mib,
    memory_mib,
    server_limit,
)
from bench.simulator.driver.models import MODELS
from bench.simulator.driver.state import Daemon, DriverState, create, updated

GPU = "GPU-11111111-2222-3333-4444-555555555555"
PIPE = "/run/bench/pipe"


@pytest.fixture
def path(tmp_path):
    create(tmp_path / "deep" / "state.txt", "a100-80gb", GPU)
    return tmp_path / "deep" / "state.txt"


def under_mps(path, percentage=100.0):
    with updated(path) as state:
        state.daemons.append(Daemon(state.take_pid(), PIPE, GPU, percentage))
    return DriverState.load(path)


def cut(path, layout):
    nvidia_smi.main(["-mig", "1"], str(path))
    nvidia_smi.main(["mig", "-cgi", layout, "-C"], str(path))
    return DriverState.load(path)


def test_a_fresh_state_is_an_ordinary_idle_gpu(path):
    state = DriverState.load(path)
    assert (state.gpu_name, state.gpu_uuid) == ("SIMULATED NVIDIA A100-SXM4-80GB", GPU)
    assert (state.mig_enabled, state.compute_mode, state.in_use) == (False, "Default", False)
    assert granted_sms(state, GPU) == 108
    assert memory_mib(state, GPU) == 81920 - 869


@pytest.mark.parametrize(
    ("percentage", "sms"), [(None, 108), (100, 108), (50, 54), (33, 34), (25, 26), (1, 2), (99.9, 106)]
)
def test_a_percentage_is_rounded_down_to_whole_granules(path, percentage, sms):
    assert granted_sms(under_mps(path), GPU, percentage, PIPE) == sms


@pytest.mark.parametrize("pipe", [None, "/somewhere/else"])
def test_a_percentage_without_a_daemon_is_ignored(path, pipe):
    assert granted_sms(under_mps(path), GPU, 50, pipe) == 108


def test_a_client_can_only_tighten_the_default_of_its_server(path):
    state = under_mps(path, 25.0)
    assert granted_sms(state, GPU, None, PIPE) == 26
    assert granted_sms(state, GPU, 50, PIPE) == 26
    assert granted_sms(state, GPU, 10, PIPE) == 10


def test_a_client_can_only_tighten_the_memory_limit_of_its_server(path):
    (daemon,) = under_mps(path).daemons
    assert memory_limit_mib(daemon) is None
    assert memory_limit_mib(daemon, "512M") == 512
    limited = daemon.replace(memory_limit="2G")
    assert [memory_limit_mib(limited, own) for own in (None, "4G", "512M")] == [2048, 2048, 512]
    with_server = limited.replace(server_pid=7, server_memory_limit=None)  # set after the server had started
    assert memory_limit_mib(with_server) is None


def test_a_new_default_counts_only_for_servers_started_later(path):
    under_mps(path)
    with updated(path) as state:
        state.add_client(1, "a", GPU, 1, mps_pipe_directory=PIPE)
        (daemon,) = state.daemons
        state.replace_daemon(daemon, daemon.replace(active_thread_percentage=50.0))
    assert granted_sms(DriverState.load(path), GPU, None, PIPE) == 108


def test_a_mig_device_has_the_size_of_its_profile(path):
    state = cut(path, "9:0,19:4")
    sizes = {
        (state.profile(gi).name, granted_sms(state, ci.uuid), memory_mib(state, ci.uuid))
        for gi in state.instances
        for ci in gi.compute
    }
    assert sizes == {("3g.40gb", 42, 40192), ("1g.10gb", 14, 9728)}


def test_a_cut_gpu_cannot_be_had_whole(path):
    state = cut(path, "9:0")
    with pytest.raises(RefusedError, match="NO_DEVICE"):
        granted_sms(state, GPU)


def test_mig_uuids_come_back_with_the_same_layout(path):
    first = [gi.compute[0].uuid for gi in cut(path, "9:0,9:4").instances]
    for command in (["mig", "-dci"], ["mig", "-dgi"], ["-mig", "0"]):
        assert nvidia_smi.main(command, str(path)) == 0
    assert [gi.compute[0].uuid for gi in cut(path, "9:0,9:4").instances] == first
    assert len(set(first)) == 2


def test_the_first_client_brings_the_server(path):
    under_mps(path)
    with updated(path) as state:
        assert state.daemons[0].server_pid is None
        state.add_client(7, "train.py", GPU, 512, mps_pipe_directory=PIPE, active_thread_percentage=50)
        assert state.daemons[0].server_pid is not None
    state = DriverState.load(path)
    assert [client.pid for client in state.clients_of(state.daemons[0])] == [7]
    assert state.clients[0].active_thread_percentage == 50


@pytest.mark.parametrize(("driver", "limit"), [("580.126.09", 48), ("590.48.01", 60), ("610.57.04", 60)])
def test_an_mps_server_has_room_for_so_many_clients(path, driver, limit):
    under_mps(path)
    with updated(path) as state:
        state.driver_version = driver
        for pid in range(limit):
            state.add_client(pid + 1, "client", GPU, 1, mps_pipe_directory=PIPE)
        with pytest.raises(RefusedError, match="MAX_CLIENTS"):
            state.add_client(99, "one too many", GPU, 1, mps_pipe_directory=PIPE)
        state.add_client(100, "beside MPS", GPU, 1)


def test_before_volta_an_mps_server_had_room_for_16():
    assert (server_limit("6.1", "580.126.09"), server_limit("7.0", "580.126.09")) == (16, 48)


def test_on_a_mig_device_an_mps_server_has_less_room(path):
    state = cut(path, "9:0,19:4")
    limits = {state.profile(gi).name: client_limit(state, gi.compute[0].uuid) for gi in state.instances}
    assert limits == {"3g.40gb": 25, "1g.10gb": 8}


def test_a_clients_fault_closes_its_server_until_those_it_hit_have_gone(path):
    under_mps(path)
    with updated(path) as state:
        for pid in (1, 2, 3):
            state.add_client(pid, "client", GPU, 1, mps_pipe_directory=PIPE)
        fault_client(state, 2)
        assert state.daemons[0].faulty
        with pytest.raises(RefusedError, match="SERVER_NOT_READY"):
            state.add_client(4, "new", GPU, 1, mps_pipe_directory=PIPE)
        state.remove_client(1)
        assert state.daemons[0].faulty
        state.remove_client(3)
        assert not state.daemons[0].faulty
        state.add_client(4, "new", GPU, 1, mps_pipe_directory=PIPE)
    assert [client.pid for client in DriverState.load(path).clients] == [4]


def test_a_killed_daemon_takes_its_clients_along(path):
    under_mps(path)
    with updated(path) as state:
        state.add_client(1, "client", GPU, 1, mps_pipe_directory=PIPE)
        state.add_client(2, "beside MPS", GPU, 1)
        kill_daemon(state, PIPE)
        with pytest.raises(ValueError, match="no MPS daemon"):
            kill_daemon(state, PIPE)
    state = DriverState.load(path)
    assert (state.daemons, [client.pid for client in state.clients]) == ([], [2])


def test_a_lost_gpu_takes_nobody(path):
    with updated(path) as state:
        state.lost = True
        with pytest.raises(RefusedError, match="NO_DEVICE"):
            state.add_client(1, "client", GPU, 1)


def test_exclusive_process_lets_only_the_server_in(path):
    under_mps(path)
    with updated(path) as state:
        state.compute_mode = "Exclusive_Process"
        state.add_client(1, "client", GPU, 1, mps_pipe_directory=PIPE)
        state.add_client(2, "client", GPU, 1, mps_pipe_directory=PIPE)
        with pytest.raises(RefusedError, match="DEVICE_UNAVAILABLE"):
            state.add_client(3, "stray", GPU, 1)


def test_clients_go_and_leave_their_memory(path):
    with updated(path) as state:
        state.add_client(1, "a", GPU, 512)
        state.add_client(2, "b", GPU, 256)
        state.remove_client(1)
        state.remove_client(12345)
    assert [client.pid for client in DriverState.load(path).clients] == [2]


def test_an_error_leaves_the_file_as_it_was(path):
    before = path.read_bytes()
    with pytest.raises(RuntimeError), updated(path) as state:
        state.compute_mode = "Prohibited"
        raise RuntimeError
    assert path.read_bytes() == before


def _add_clients(path, first):
    for pid in range(first, first + 50):
        with updated(path) as state:
            state.add_client(pid, "job", GPU, 1)


def test_writers_side_by_side_lose_nothing(path):
    writers = [multiprocessing.Process(target=_add_clients, args=(path, first)) for first in (100, 200, 300)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(DriverState.load(path).clients) == 150


def test_the_file_holds_a_fact_a_line(path):
    cut(path, "9:0")
    lines = path.read_text().splitlines()
    assert lines[0] == "model_key a100-80gb"
    assert {"mig_enabled True", "holder -", "instance 2 9 0"} < set(lines)
    assert lines[-1].startswith("compute 0 3 0 MIG-")


@pytest.mark.parametrize(
    "name", ["a job", "", "-", "tab\tand\nline", "back\\x20slash", "Gr\u00f6\u00dfe", "\udcff", "\u2028"]
)
def test_odd_names_survive_the_file(path, name):
    with updated(path) as state:
        state.holder = name
        state.daemons.append(Daemon(7, f"/run/{name}", GPU, 12.5, server_pid=9, server_uid=0))
        state.add_client(1, name, GPU, 512, mps_pipe_directory=f"/run/{name}", active_thread_percentage=33.3)
    read = DriverState.load(path)
    assert (read.holder, read.daemons, read.clients) == (name, state.daemons, state.clients)
    assert read.to_text() == state.to_text()


@pytest.mark.parametrize("line", ["daemon 7", "client 1 a GPU 2 - - - -", "compute_modes Default"])
def test_a_line_that_says_too_little_or_too_much_is_an_error(path, line):
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises((ValueError, KeyError)):
        DriverState.load(path)


def test_a_copy_without_clients_is_a_copy(path):
    with updated(path) as state:
        state.add_client(1, "a", GPU, 512)
        idle = state.without_clients()
        idle.daemons.append(Daemon(7, PIPE, GPU))
    assert idle.clients == []
    read = DriverState.load(path)
    assert ([client.pid for client in read.clients], read.daemons) == ([1], [])


def test_mig_uuids_are_of_version_5(path):
    (gi,) = cut(path, "9:0").instances
    assert gi.compute[0].uuid == f"MIG-{uuid.uuid5(uuid.UUID(GPU[4:]), '2/0')}"


@pytest.mark.parametrize("model", [model for model in MODELS.values() if model.mig_capable])
def test_every_placement_has_an_instance_id_of_its_own_and_fits(model):
    for profile in model.profiles:
        ids = [model.instance_id(profile.size, start) for start in profile.starts]
        assert len(set(ids)) == len(ids)
        assert all(start + profile.size <= model.slots for start in profile.starts)
        assert profile.sms <= model.sms
        assert profile.max_instances * profile.memory_mib <= model.memory_mib
