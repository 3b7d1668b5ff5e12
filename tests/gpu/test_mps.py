from pathlib import Path

import pytest

from bench.errors import DeviceError, SetupError
from bench.gpu.mps import MpsControl, MpsStatus

PIPE = Path("/run/bench/mps/pipe")
DAEMON = """while read -r question number; do case "$question" in
  get_default_active_thread_percentage) echo 50.0;;
  get_server_list) echo 6472; echo 6480;;
  get_client_list) [ "$number" = 6472 ] && { echo 9741; echo 9743; };;
  *) echo "Unknown command: $question";;
esac; done; exit 0"""


def control(tool, body) -> MpsControl:
    return MpsControl(tool("nvidia-cuda-mps-control", body), PIPE)


def test_one_call_tells_the_whole_status(tool):
    assert control(tool, DAEMON).status() == MpsStatus(50.0, (6472, 6480))


def test_servers_and_their_clients(tool):
    daemon = control(tool, DAEMON)
    assert daemon.server_list() == (6472, 6480)
    assert daemon.client_list(6472) == (9741, 9743)
    assert daemon.client_list(6480) == ()
    assert daemon.default_active_thread_percentage() == 50.0


def test_the_pipe_directory_says_which_daemon(tool):
    body = '[ "$CUDA_MPS_PIPE_DIRECTORY" = /run/bench/mps/pipe ] && echo 100.0'
    assert control(tool, body).is_alive()


def test_no_daemon_is_an_answer_for_status_and_an_error_for_the_rest(tool):
    daemon = control(tool, "echo 'Cannot find MPS control daemon process'; exit 1")
    assert daemon.status() is None
    assert not daemon.is_alive()
    with pytest.raises(DeviceError, match=r"(?s)/run/bench/mps/pipe.*Cannot find MPS control daemon"):
        daemon.server_list()


def test_a_path_too_long_for_a_socket_is_named(tool):
    environment = tool("nvidia-cuda-mps-control", "echo 'Cannot find MPS control daemon process'; exit 1")
    with pytest.raises(DeviceError, match="107 bytes"):
        MpsControl(environment, PIPE / ("x" * 90)).server_list()


def test_an_error_text_with_exit_code_0_is_no_list_of_servers(tool):
    daemon = control(tool, "echo 'MPS is confused'")
    for question in (daemon.server_list, daemon.default_active_thread_percentage, daemon.status):
        with pytest.raises(DeviceError, match="MPS is confused"):
            question()


LSPART = """GPU Partition free used free used clients
chunk chunk SM SM
GPU-74d43ed3 - 3 7 24 56 -
GPU-74d43ed3 Dx4AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA - 4 - 32 Yes
GPU-74d43ed3 Dx4BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA - 3 - 24 No
GPU-74d43ed3 Dx4CAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA - 2 - 16 -"""


def test_static_partitions_and_who_has_clients(tool):
    found = control(tool, f"echo '{LSPART}'").partitions()
    assert (found.chunks, found.chunk_sms) == (10, 8)
    assert [(part.id[:4], part.chunks, part.has_clients) for part in found.partitions] == [
        ("Dx4A", 4, True), ("Dx4B", 3, False), ("Dx4C", 2, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "said", ["Unrecognized command: lspart", "GPU-74d43ed3 - 0 0 0 0 -", "GPU-74d43ed3 - 3 7"]
)
def test_what_is_no_listing_of_partitions_is_an_error(tool, said):
    with pytest.raises(DeviceError, match=r"nvidia-cuda-mps-control.*said"):
        control(tool, f"echo '{said}'").partitions()


def test_a_missing_tool_is_a_matter_of_set_up():
    with pytest.raises(SetupError, match="nvidia-cuda-mps-control"):
        MpsControl({"PATH": "/nowhere"}, PIPE).is_alive()
