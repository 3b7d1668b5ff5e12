"""Who holds the GPU, from a process table."""

import os

from bench.gpu.holders import holders


def process(proc, pid, comm, *, opened=(), environment=None):
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "comm").write_text(f"{comm}\n")
    for number, target in enumerate(opened):
        (folder / "fd" / str(number)).symlink_to(target)
    if environment is not None:
        (folder / "environ").write_bytes(environment)


def test_only_processes_with_device_nodes_and_mps_are_listed(tmp_path):
    (tmp_path / "self").mkdir()
    process(tmp_path, 20, "Xorg", opened=["/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia0", "/dev/null"])
    process(tmp_path, 3, "bash", opened=["/dev/null"])
    process(tmp_path, 7, "nvidia-cuda-mps", environment=b"A=1\0CUDA_MPS_PIPE_DIRECTORY=/run/mps\0")
    process(tmp_path, 8, "nvidia-cuda-mps", opened=["/dev/nvidia0"], environment=b"A=1\0")
    told = [(each.pid, each.name, each.nodes, each.mps_pipe_directory) for each in holders(tmp_path)]
    assert told == [
        (7, "nvidia-cuda-mps", (), "/run/mps"),
        (8, "nvidia-cuda-mps", ("/dev/nvidia0",), "/tmp/nvidia-mps"),
        (20, "Xorg", ("/dev/nvidia0", "/dev/nvidiactl"), None),
    ]


def test_a_process_that_may_not_be_looked_into_is_left_out(tmp_path):
    process(tmp_path, 5, "nvidia-cuda-mps")
    (tmp_path / "6").mkdir()
    assert holders(tmp_path) == []


def test_this_host_is_readable():
    assert all(holder.pid != os.getpid() for holder in holders())
