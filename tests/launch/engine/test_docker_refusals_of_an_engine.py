"""What a user is told where there is an engine, but not all that it needs."""

from collections.abc import Callable

import docker
import pytest

from bench.errors import LaunchError, SetupError
from bench.launch.contract import Handle, Tenant
from bench.launch.docker import DockerLauncher
from bench.modes.contract import Grant
from bench.plan.catalog import Workload

pytestmark = pytest.mark.docker

NO_TOOLKIT = (
    'could not select device driver "" with capabilities: .*NVIDIA container toolkit.*: '
    "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
)
DEVICES = [f"{kind}-00000000-0000-0000-0000-000000000000" for kind in ("GPU", "MIG")]


def test_all_missing_images_are_named_with_the_command_that_builds_them(
    launcher: DockerLauncher, workload: Workload
) -> None:
    lost = [workload.model_copy(update={"image": name}) for name in ("no/such-b", "no/such-a")]
    with pytest.raises(SetupError, match=r"no/such-a, no/such-b; .*dockerfiles/build_all\.sh"):
        launcher.preflight([workload, *lost])


def test_an_image_that_vanished_fails_the_launch(
    launcher: DockerLauncher, workload: Workload, make_tenant: Callable[..., Tenant]
) -> None:
    lost = workload.model_copy(update={"image": "no/such-image"})
    with pytest.raises(LaunchError, match=r"dockerfiles/build_all\.sh"):
        launcher.start(make_tenant("", workload=lost))


def test_a_program_that_the_image_lacks_fails_the_job_and_its_log_says_why(
    launch: Callable[..., tuple[Handle, Tenant]], ended: Callable[[Handle], int], workload: Workload
) -> None:
    handle, tenant = launch("", workload=workload.model_copy(update={"module": "no_such_module"}))
    assert ended(handle) == 1
    handle.remove()
    assert "no_such_module" in tenant.log_file.read_text()


@pytest.fixture
def engine_without_toolkit(launcher: DockerLauncher) -> None:
    if "nvidia" in docker.from_env().info()["Runtimes"]:
        pytest.skip("this engine has the NVIDIA container toolkit")


@pytest.mark.usefixtures("engine_without_toolkit")
@pytest.mark.parametrize("device_id", DEVICES)
def test_missing_toolkit_is_found_before_anything_runs(workload: Workload, device_id: str) -> None:
    with pytest.raises(SetupError, match=NO_TOOLKIT):
        DockerLauncher(device_id).preflight([workload])


@pytest.mark.usefixtures("engine_without_toolkit")
@pytest.mark.parametrize("device_id", DEVICES)
def test_missing_toolkit_fails_the_launch_and_leaves_no_container(
    launcher: DockerLauncher, make_tenant: Callable[..., Tenant], device_id: str
) -> None:
    with pytest.raises(LaunchError, match=NO_TOOLKIT):
        launcher.start(make_tenant("", grant=Grant(device_id), run_id="no-toolkit"))
    assert docker.from_env().containers.list(all=True, filters={"label": "bench.run=no-toolkit"}) == []
