import numpy as np
import pytest

from bench.launch.contract import Tenant
from bench.launch.corun import co_run
from bench.modes.contract import Grant
from bench.plan.catalog import Resources, SimulationProfile, Workload
from bench.plan.model import Timing
from bench.simulator.board import Board
from bench.simulator.clock import VirtualClock
from bench.simulator.driver import nvidia_smi
from bench.simulator.driver.state import Daemon, DriverState, create, updated
from bench.simulator.launcher import SimulatedLauncher

GPU = "GPU-11111111-2222-3333-4444-555555555555"
PIPE = "/run/bench/pipe"
TIMING = Timing(name="t", blocks=1, settle_s=10, window_s=200, publishable=False)
MIXED = SimulationProfile(host_ms=4, fixed_ms=20, scaling_ms=80, gpu_memory_gb=2, step_cv=0.05, provenance="-")


class Bench:
    """A simulated board, and jobs to put on it. A step of theirs takes 20 + 80 ms of GPU unless told otherwise."""

    gpu = GPU

    def __init__(self, folder, model="a100-80gb"):
        self.folder = folder
        self.state_file = folder / "state.json"
        create(self.state_file, model, GPU)
        self.board = Board(self.state_file, VirtualClock())
        self.launcher = SimulatedLauncher(self.board)

    def start_mps(self, percentage=100.0, **fields):
        with updated(self.state_file) as state:
            state.daemons.append(Daemon(state.take_pid(), PIPE, GPU, percentage, **fields))

    def cut(self, *profiles):
        nvidia_smi.main(["-mig", "1"], str(self.state_file))
        nvidia_smi.main(["mig", "-cgi", ",".join(map(str, profiles)), "-C"], str(self.state_file))
        instances = DriverState.load(self.state_file).instances
        return [compute.uuid for instance in instances for compute in instance.compute]

    def tenant(self, number, device=GPU, environment=None, seed=None, batch_size=8, **profile):
        folder = self.folder / f"job-{len(list(self.folder.glob('job-*')))}"
        folder.mkdir()
        workload = Workload(
            name="w", module="m", image="i", kind="inference", unit="images", parameters={"batch_size": 8},
            resources=Resources(cpus=1, memory_gb=1), simulation=MIXED.model_copy(update=profile),
        )  # fmt: skip
        return Tenant(f"job {number}", "w", workload, {"batch_size": batch_size}, number if seed is None else seed,
                      "cuda", Grant(device, environment or {}), folder, None, 1, "run")  # fmt: skip

    def tenants(self, n, **options):
        return [self.tenant(number, **options) for number in range(n)]

    def run(self, tenants, timing=TIMING):
        return co_run(self.launcher, tenants, timing, self.board.clock, lambda _: ())

    def mean_step_s(self, tenants):
        """Mean step time in the window, over all tenants."""
        result = self.run(tenants)
        assert result.errors == ()
        window = result.window
        steps = [outcome.events.steps for outcome in result.outcomes]
        steps_s = [each.duration_s[each.end_s.searchsorted(window.settle_s) : -1] for each in steps]
        return float(np.mean(np.concatenate(steps_s)))


@pytest.fixture
def make_bench(tmp_path):
    """Make simulated boards, each in a folder of its own."""

    def make(model="a100-80gb"):
        folder = tmp_path / f"bench-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return Bench(folder, model)

    return make


@pytest.fixture
def bench(make_bench):
    """A simulated A100-80GB."""
    return make_bench()
