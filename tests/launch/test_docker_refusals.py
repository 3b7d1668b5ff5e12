"""What a user is told where containers cannot be run: each refusal names the command that mends it."""

import os
import socket
from pathlib import Path

import pytest

from bench.errors import SetupError
from bench.launch.docker import DockerLauncher, why_not_docker
from bench.plan.catalog import Workload, load_catalog


@pytest.fixture
def workload() -> Workload:
    return load_catalog()["resnet18-training"]


def test_no_engine_names_the_address_and_how_to_install_one(
    workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with pytest.raises(SetupError, match=r"docker\.sock.*apt-get install docker\.io"):
        DockerLauncher().preflight([workload])


def test_an_engine_that_was_stopped_is_to_be_started(
    workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:  # bound, but nobody listens: what a stopped dockerd leaves
        dead.bind(str(tmp_path / "docker.sock"))
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
        assert "systemctl start docker" in (why_not_docker([workload]) or "")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without rights to the socket")
def test_a_user_outside_the_group_is_told_to_join_it(
    workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as private:
        private.bind(str(tmp_path / "docker.sock"))
        private.listen()
        (tmp_path / "docker.sock").chmod(0o600)
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
        os.seteuid(65534)
        try:
            reason = why_not_docker([workload])
        finally:
            os.seteuid(0)
    assert "usermod -aG docker" in (reason or "")
